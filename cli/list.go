package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/registered"
	"github.com/racecar-go/racecar/racecar"
)

// listed is a registered consumer as `list --json` shows it.
type listed struct {
	Name          string   `json:"name"`
	Group         string   `json:"group"`
	Topics        []string `json:"topics"` // a pattern is written /…/
	Batch         bool     `json:"batch"`
	Transactional bool     `json:"transactional"`
}

func list(in *parsed, stdout, _ io.Writer) error {
	if err := mistakes(); err != nil {
		return err
	}
	all := []listed{} // in JSON [], not null
	for _, r := range registered.Consumers() {
		o := in.options()
		spec := registered.SpecValues(r)
		o.Spec = &spec
		l, err := config.Load(o)
		if err != nil {
			return err
		}
		all = append(all, listed{
			Name: r.Name(), Group: l.Config.GroupID, Topics: topics(r.Spec().Subscriptions),
			Batch: r.Batch(), Transactional: r.Spec().Transactional,
		})
	}
	if in.line.List.JSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(stdout, "no consumer is registered")
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONSUMER\tGROUP\tTOPICS")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, c.Group, strings.Join(c.Topics, " "))
	}
	return w.Flush()
}

func topics(subscriptions []racecar.Subscription) []string {
	var names []string
	for _, s := range subscriptions {
		if s.TopicPattern != "" {
			names = append(names, "/"+s.TopicPattern+"/")
			continue
		}
		names = append(names, s.Topic)
	}
	return names
}

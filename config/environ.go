package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caarlos0/env/v11"

	"github.com/racecar-go/racecar/internal/nearest"
)

// Variables that begin with EnvPrefix and are not keys.
const (
	envSection  = "RACECAR_ENV"
	envFile     = "RACECAR_CONFIG"
	envInternal = "RACECAR_INTERNAL_" // what our own processes tell each other
)

// EnvDevelopment holds the address of the embedded broker that --dev has started. It
// overrides the brokers and the security settings.
const EnvDevelopment = envInternal + "DEV_BROKER"

// environment is the name of the file's section that applies, and where it comes from.
type environment struct {
	name   string
	origin string
}

// sectionFrom picks the environment: RACECAR_ENV, else what Rails and Rack use,
// else development.
func sectionFrom(env map[string]string) environment {
	for _, name := range []string{envSection, "RAILS_ENV", "RACK_ENV"} {
		if v := env[name]; v != "" {
			return environment{v, name}
		}
	}
	return environment{"development", "neither RACECAR_ENV, RAILS_ENV nor RACK_ENV is set"}
}

// environMap parses the form of os.Environ. If a name is given twice, the last value
// applies, as for a child started by os/exec.
func environMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			m[name] = value
		}
	}
	return m
}

// environStruct has one text per key, tagged for package env. Key.parse parses the texts,
// as it does those of file and flags.
var environStruct = sync.OnceValue(func() reflect.Type { return reflect.StructOf(environFields()) })

func environFields() []reflect.StructField {
	fields := make([]reflect.StructField, len(allKeys))
	for i, k := range allKeys {
		fields[i] = reflect.StructField{
			Name: fieldName(k),
			Type: reflect.TypeFor[string](),
			Tag:  reflect.StructTag(fmt.Sprintf(`env:"%s"`, strings.TrimPrefix(k.Env, EnvPrefix))),
		}
	}
	return fields
}

// readEnviron reads the keys' variables. An empty variable is a value, too: for a text or
// list it means none, for a number it is an error.
func readEnviron(vars map[string]string) ([]setting, []error) {
	given := reflect.New(environStruct())
	if err := env.ParseWithOptions(given.Interface(), env.Options{Prefix: EnvPrefix, Environment: vars}); err != nil {
		return nil, []error{fmt.Errorf("environment: %w", err)}
	}
	var settings []setting
	known := map[string]bool{envSection: true, envFile: true}
	for i, k := range allKeys {
		known[k.Env] = true
		if k.Secret {
			known[k.Env+fileSuffix] = true
		}
		if _, ok := vars[k.Env]; ok {
			text := given.Elem().Field(i).String()
			settings = append(settings, setting{key: k, in: input{text: text}, source: k.Env, place: k.Env})
		}
	}
	var names []string // without the prefix, in which all resemble each other
	for _, name := range slices.Sorted(maps.Keys(known)) {
		names = append(names, strings.TrimPrefix(name, EnvPrefix))
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !strings.HasPrefix(name, EnvPrefix) || known[name] || strings.HasPrefix(name, envInternal) {
			continue
		}
		hint := ""
		if near := nearest.Names(strings.TrimPrefix(name, EnvPrefix), names); len(near) > 0 {
			hint = fmt.Sprintf(" (did you mean %s%s?)", EnvPrefix, strings.Join(near, " or "+EnvPrefix))
		}
		if serviceLink.MatchString(name) {
			hint = ": it looks like one that Kubernetes makes for a service named racecar; set enableServiceLinks: false for the pod"
		}
		problems = append(problems, fmt.Errorf("%s: unknown environment variable%s", oneLine(name), hint))
	}
	return settings, problems
}

// serviceLink matches the variables that Kubernetes adds to each pod for a service.
var serviceLink = regexp.MustCompile(`^RACECAR_(.+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Package consumers enriches page views.
package consumers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"example.com/geo-coding/geo"

	"github.com/racecar-go/racecar/racecar"
)

// GeoCodingConsumer adds the country to each page view.
type GeoCodingConsumer struct {
	out racecar.Producer
	geo *geo.DB
}

// NewGeoCodingConsumer opens the database of countries.
func NewGeoCodingConsumer(rt racecar.Runtime) (*GeoCodingConsumer, error) {
	db, err := geo.Open()
	return &GeoCodingConsumer{out: rt.Producer, geo: db}, err
}

// PageView is the input, and the output once it has a Country.
type PageView struct {
	ID        string     `json:"id"`
	IPAddress netip.Addr `json:"ip_address"`
	Country   string     `json:"country,omitempty"`
}

// Process produces the page view with its country. It need not wait: racecar commits this
// message's offset only after the output is acknowledged.
func (c *GeoCodingConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var view PageView
	if err := json.Unmarshal(m.Value, &view); err != nil {
		return racecar.Skip(fmt.Errorf("not a page view: %w", err))
	}
	view.Country = c.geo.Country(view.IPAddress)
	enriched, err := json.Marshal(view)
	if err != nil {
		return err
	}
	return c.out.Produce(ctx, racecar.ProducerMessage{
		Topic: "pageviews-with-country",
		Key:   []byte(view.ID),
		Value: enriched,
	})
}

func init() {
	racecar.Register(NewGeoCodingConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "pageviews"}},
	})
}

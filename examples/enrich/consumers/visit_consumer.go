// Package consumers adds the country to visits of a web site.
package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	api "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	_ "github.com/racecar-go/racecar/otel" // spans of calls and of produced messages
	"github.com/racecar-go/racecar/racecar"
)

// cache is what a consumer needs of Redis; tests have another.
type cache interface {
	Get(ctx context.Context, key string) *redis.StringCmd
	Set(ctx context.Context, key string, value any, ttl time.Duration) *redis.StatusCmd
}

// client is shared by all instances of a worker.
var client *redis.Client

func init() {
	racecar.Setup(func(ctx context.Context, _ racecar.Runtime) (func(context.Context) error, error) {
		client = redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")})
		if err := client.Ping(ctx).Err(); err != nil {
			return nil, errors.Join(racecar.Unavailable(err, "redis"), client.Close())
		}
		return func(context.Context) error { return client.Close() }, nil
	})
	racecar.Register(NewVisitConsumer, racecar.Spec{
		Subscriptions: []racecar.Subscription{{Topic: "visits"}},
		Ordering:      racecar.ByKey, // the visits of one visitor stay in order
		Concurrency:   8,             // lookups take their time
		MaxRetries:    3,
	})
}

// VisitConsumer looks up where visitors come from.
type VisitConsumer struct {
	rt      racecar.Runtime
	cache   cache
	service string // URL
}

// NewVisitConsumer returns a VisitConsumer that asks the service at COUNTRIES_URL.
func NewVisitConsumer(rt racecar.Runtime) (*VisitConsumer, error) {
	return &VisitConsumer{rt, client, os.Getenv("COUNTRIES_URL")}, nil
}

// Process produces a visit with its country.
func (c *VisitConsumer) Process(ctx context.Context, m *racecar.Message) error {
	var visit map[string]any
	if err := json.Unmarshal(m.Value, &visit); err != nil {
		return racecar.DeadLetter(fmt.Errorf("not a visit: %w", err))
	}
	ip, _ := visit["ip"].(string)
	country, err := c.country(ctx, ip)
	if err != nil {
		return err
	}
	visit["country"] = country
	value, err := json.Marshal(visit)
	if err != nil {
		return err
	}
	return c.rt.Producer.Produce(ctx, racecar.ProducerMessage{Topic: "located-visits", Key: m.Key, Value: value})
}

// country asks the cache first, then the service.
func (c *VisitConsumer) country(ctx context.Context, ip string) (string, error) {
	country, err := c.cache.Get(ctx, "country:"+ip).Result()
	if err == nil {
		return country, nil
	}
	if !errors.Is(err, redis.Nil) { // not needed to answer, but it spares the service
		racecar.Logger(ctx).Warn("the cache does not answer", "error", err)
	}
	if country, err = c.ask(ctx, ip); err != nil {
		return "", err
	}
	if err := c.cache.Set(ctx, "country:"+ip, country, time.Hour).Err(); err != nil {
		racecar.Logger(ctx).Warn("the cache does not store", "error", err)
	}
	return country, nil
}

// ask calls the service, in the trace of the message.
func (c *VisitConsumer) ask(ctx context.Context, ip string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.service+"/countries/"+url.PathEscape(ip), nil)
	if err != nil {
		return "", racecar.Fatal(err)
	}
	api.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(request.Header))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", racecar.Unavailable(err, "countries")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	switch {
	case err != nil:
		return "", racecar.Unavailable(err, "countries")
	case response.StatusCode >= http.StatusInternalServerError:
		return "", racecar.Unavailable(errors.New(response.Status), "countries")
	case response.StatusCode != http.StatusOK:
		return "", racecar.DeadLetter(fmt.Errorf("no country for %q: %s", ip, response.Status))
	}
	return string(body), nil
}

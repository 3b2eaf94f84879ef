package demo

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/examples/quakes"
	"github.com/racecar-go/racecar/racecar"
)

// feed produces earthquakes.
type feed struct {
	stage *stage
	fed   atomic.Int64 // acknowledged
}

func (f *feed) count() int { return int(f.fed.Load()) }

// once feeds the week as fast as it goes.
func (f *feed) once(ctx context.Context) error {
	return f.with(ctx, func(p *racecar.StandaloneProducer, week []quakes.Quake) error {
		err := p.WaitForDelivery(ctx, func(ctx context.Context) error {
			for _, q := range week {
				if err := p.ProduceAsync(ctx, message(q)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			f.fed.Add(int64(len(week)))
		}
		return err
	})
}

// forever feeds the week again and again, rate events a second, until ctx ends.
// Each time around the events have new ids.
func (f *feed) forever(ctx context.Context, rate float64) error {
	return f.with(ctx, func(p *racecar.StandaloneProducer, week []quakes.Quake) error {
		tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			q := week[i%len(week)]
			if round := i / len(week); round > 0 {
				q.ID += "#" + strconv.Itoa(round)
			}
			// Finish a started delivery, so that its outcome is known.
			if err := p.ProduceSync(context.WithoutCancel(ctx), message(q)); err != nil {
				return err
			}
			f.fed.Add(1)
		}
	})
}

func message(q quakes.Quake) racecar.ProducerMessage {
	// A Quake has nothing that JSON could not write.
	value, _ := json.Marshal(q)
	return racecar.ProducerMessage{Topic: quakes.Topic, Key: []byte(q.ID), Value: value, Timestamp: time.Now()}
}

// with calls do with a producer to the demo's broker.
func (f *feed) with(ctx context.Context, do func(*racecar.StandaloneProducer, []quakes.Quake) error) error {
	week, err := quakes.Week()
	if err != nil {
		return err
	}
	c := config.Default()
	c.Brokers = []string{f.stage.broker.Addr()}
	c.Logfile = f.stage.log
	if err := f.stage.waitRunning(ctx); err != nil {
		return err
	}
	p, err := racecar.NewStandaloneProducer(ctx, &c)
	if err != nil {
		return err
	}
	err = do(p, week)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, p.Close(closing))
}

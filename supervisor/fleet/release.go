package fleet

import (
	"time"

	"github.com/racecar-go/racecar/config"
	"github.com/racecar-go/racecar/internal/wire"
)

// Image is an executable that the caller of Step holds open until CloseImage. Two are
// equal when they are the same file with the same content.
type Image struct {
	ID   int
	Name string // for the log
}

// release is what a slot runs: an image, and the consumer as that image's Specs and the
// configuration describe it. Each rollout makes one for each consumer.
type release struct {
	number   int // 1: that of the start; a rollout to something else has the next one
	image    Image
	consumer wire.Consumer
	refs     int // what refers to it, see hold
}

// equals reports whether a release is what a plan describes.
func (r *release) equals(image Image, c wire.Consumer) bool {
	return r.image == image && r.consumer.Digest == c.Digest
}

func (r *release) config() *config.Config { return &r.consumer.Config }

// dynamic reports whether the members of the group have no instance ids.
func (r *release) dynamic() bool { return r.config().Membership == config.MembershipDynamic }

// joinLimit is how long joining may take.
func (r *release) joinLimit() time.Duration { return r.config().MaxPollInterval + joinGrace }

// setRelease makes ref refer to a release (nil: to none) in place of what it referred to. An
// image that no release refers to any more is closed.
func (f *Fleet) setRelease(ref **release, rel *release) {
	if rel != nil {
		if rel.refs++; rel.refs == 1 {
			f.images[rel.image]++
		}
	}
	was := *ref
	*ref = rel
	if was == nil {
		return
	}
	if was.refs--; was.refs == 0 {
		f.images[was.image]--
		f.closeUnused(was.image)
	}
}

// closeUnused closes an image that no release refers to.
func (f *Fleet) closeUnused(image Image) {
	if f.images[image] == 0 {
		delete(f.images, image)
		f.do(CloseImage{image})
	}
}

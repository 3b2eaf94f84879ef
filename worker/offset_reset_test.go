package worker

import (
	"testing"

	"github.com/racecar-go/racecar/racecar"
)

func TestOffsetResetGoesBeforeStartFrom(t *testing.T) {
	given := []racecar.Subscription{
		{Topic: "as written", StartFrom: racecar.End},
		{Topic: "beginning", StartFrom: racecar.End, AdditionalConfig: map[string]string{"auto.offset.reset": "smallest"}},
		{Topic: "end", AdditionalConfig: map[string]string{"auto.offset.reset": "latest"}},
	}
	subs, err := withOffsetReset(given, nil)
	if err != nil || subs[0].StartFrom != racecar.End || subs[1].StartFrom != racecar.Beginning || subs[2].StartFrom != racecar.End {
		t.Errorf("%+v, %v", subs, err)
	}
	if given[1].StartFrom != racecar.End {
		t.Error("the Spec itself was changed")
	}
	subs, err = withOffsetReset(given, []string{"auto.offset.reset=earliest"})
	if err != nil || subs[0].StartFrom != racecar.Beginning || subs[2].StartFrom != racecar.End {
		t.Errorf("with `consumer`: %+v, %v", subs, err)
	}
	if _, err := withOffsetReset(given, []string{"nope=1"}); err == nil {
		t.Error("a property that does not exist was accepted")
	}
}

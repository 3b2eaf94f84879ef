package consumers

import (
	"slices"
	"testing"

	"example.com/user-ban/users"

	"github.com/racecar-go/racecar/racecar"
	"github.com/racecar-go/racecar/racecartest"
)

func TestUserBanConsumer(t *testing.T) {
	t.Chdir(t.TempDir())
	store, err := users.Open("tmp/users")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []users.User{{ID: 7, Name: "Mallory"}, {ID: 8, Name: "Alice"}} {
		if err := store.Save(u); err != nil {
			t.Fatal(err)
		}
	}
	result := racecartest.Run(t, NewUserBanConsumer, []*racecar.Message{
		{Value: []byte(`{"user_id": 7}`)},
		{Value: []byte(`{"user_id": 99}`)},
		{Value: []byte(`mallory`)},
	})
	var got []racecartest.Verdict
	for _, err := range result.Errors {
		got = append(got, racecartest.VerdictOf(err))
	}
	if want := []racecartest.Verdict{racecartest.Processed, racecartest.Skipped, racecartest.Skipped}; !slices.Equal(got, want) {
		t.Errorf("verdicts %v, want %v", got, want)
	}
	for id, banned := range map[int]bool{7: true, 8: false} {
		if u, err := store.Find(id); err != nil || u.Banned != banned {
			t.Errorf("user %d: %+v, %v; want banned %v", id, u, err, banned)
		}
	}
}

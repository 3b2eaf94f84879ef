package verdict_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/racecar-go/racecar/internal/verdict"
	"github.com/racecar-go/racecar/racecar"
)

// Each error of a tree counts, and what loses least decides.
func TestOf(t *testing.T) {
	var (
		plain = errors.New("plain")
		skip  = racecar.Skip(io.EOF)
		dead  = racecar.DeadLetter(io.EOF)
		after = racecar.RetryAfter(io.EOF, time.Minute)
		fatal = racecar.Fatal(io.EOF)
		join  = errors.Join
		at    = racecar.FailedAt
	)
	away := racecar.Unavailable(io.EOF, "db")
	unavailable := verdict.Verdict{Kind: verdict.Unavailable, After: -1, Dependency: "db"}
	inAMinute := verdict.Verdict{Kind: verdict.Unavailable, After: time.Minute, Dependency: "db"}
	retry := verdict.Verdict{Kind: verdict.Retry, After: -1}
	kind := func(k verdict.Kind) verdict.Verdict { return verdict.Verdict{Kind: k, After: -1} }
	atIndex := func(i int, v verdict.Verdict) verdict.Verdict { v.At, v.Index = true, i; return v }
	minute := verdict.Verdict{Kind: verdict.Retry, After: time.Minute}
	for name, c := range map[string]struct {
		err  error
		want verdict.Verdict
	}{
		"plain":                                {plain, retry},
		"skip":                                 {skip, kind(verdict.Skip)},
		"dead letter":                          {dead, kind(verdict.DeadLetter)},
		"retry after":                          {after, minute},
		"fatal":                                {fatal, kind(verdict.Fatal)},
		"wrapped":                              {fmt.Errorf("row 3: %w", skip), kind(verdict.Skip)},
		"the outermost decides":                {racecar.Skip(dead), kind(verdict.Skip)},
		"what a disposition holds is its own":  {racecar.Skip(join(plain, fatal)), kind(verdict.Skip)},
		"two wrapped, one plain":               {fmt.Errorf("%w: %w", plain, skip), retry},
		"skip and plain":                       {join(skip, plain), retry},
		"plain and skip":                       {join(plain, skip), retry},
		"skip and dead letter":                 {join(skip, dead), kind(verdict.DeadLetter)},
		"skip twice":                           {join(skip, fmt.Errorf("and: %w", skip)), kind(verdict.Skip)},
		"dead letter and retry after":          {join(dead, after), minute},
		"plain and retry after":                {join(plain, after), minute},
		"all":                                  {join(skip, dead, plain, after, fatal), verdict.Verdict{Kind: verdict.Fatal, After: time.Minute}},
		"unavailable":                          {away, unavailable},
		"unavailable without a name":           {racecar.Unavailable(io.EOF), kind(verdict.Unavailable)},
		"unavailable with two names":           {racecar.Unavailable(io.EOF, "db", "cache"), unavailable},
		"unavailable around a disposition":     {racecar.Unavailable(racecar.DeadLetter(io.EOF), "db"), unavailable},
		"unavailable around a pause":           {racecar.Unavailable(after, "db"), unavailable},
		"unavailable around unavailable":       {racecar.Unavailable(racecar.Unavailable(io.EOF, "cache"), "db"), unavailable},
		"a pause around unavailable":           {racecar.RetryAfter(fmt.Errorf("row 3: %w", away), time.Minute), inAMinute},
		"two pauses around unavailable":        {racecar.RetryAfter(racecar.RetryAfter(away, time.Hour), time.Minute), inAMinute},
		"only a pause looks inside":            {racecar.RetryAfter(racecar.Skip(away), time.Minute), minute},
		"skip around unavailable":              {racecar.Skip(away), kind(verdict.Skip)},
		"dead letter around unavailable":       {racecar.DeadLetter(away), kind(verdict.DeadLetter)},
		"fatal around unavailable":             {racecar.Fatal(away), kind(verdict.Fatal)},
		"unavailable and plain":                {join(plain, away), unavailable},
		"unavailable and a pause of another":   {join(away, after), unavailable},
		"a pause of another and unavailable":   {join(after, away), unavailable},
		"unavailable and fatal":                {join(away, fatal), kind(verdict.Fatal)},
		"unavailable twice: the first name":    {join(away, racecar.Unavailable(io.EOF, "cache")), unavailable},
		"at with unavailable":                  {at(4, away), atIndex(4, unavailable)},
		"at with a pause around unavailable":   {at(4, racecar.RetryAfter(away, time.Minute)), atIndex(4, inAMinute)},
		"at within unavailable":                {racecar.Unavailable(at(4, plain), "db"), atIndex(4, unavailable)},
		"at unavailable and plain":             {join(at(4, away), plain), unavailable},
		"two at, the second unavailable":       {join(at(1, plain), at(4, away)), atIndex(1, retry)},
		"at":                                   {at(4, plain), atIndex(4, retry)},
		"at with a disposition":                {at(4, skip), atIndex(4, kind(verdict.Skip))},
		"at within a disposition":              {racecar.Skip(at(4, plain)), atIndex(4, kind(verdict.Skip))},
		"at within at":                         {at(4, at(1, plain)), atIndex(1, retry)},
		"two at: the smallest":                 {join(at(4, plain), at(1, plain)), atIndex(1, retry)},
		"two at: with what it says":            {join(at(4, plain), at(1, skip)), atIndex(1, kind(verdict.Skip))},
		"two at, the other way round":          {join(at(1, dead), at(4, skip)), atIndex(1, kind(verdict.DeadLetter))},
		"two at of one message":                {join(at(1, skip), at(1, plain)), atIndex(1, retry)},
		"two at, one fatal":                    {join(at(1, skip), at(4, fatal)), atIndex(1, kind(verdict.Fatal))},
		"at and plain: nothing is known":       {join(at(4, plain), plain), retry},
		"at skip and skip: nothing is known":   {join(at(4, skip), skip), retry},
		"at and fatal: nothing is known":       {join(at(4, plain), fatal), kind(verdict.Fatal)},
		"beyond the batch is the worker's":     {at(-3, plain), atIndex(-3, retry)},
		"an error that unwraps to itself":      {circle{}, retry},
		"an error that unwraps to itself more": {join(circle{}, skip, circles{}), retry},
		"an error that unwraps to nothing":     {nilTree{}, retry},
	} {
		if got := verdict.Of(c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestFinite(t *testing.T) {
	if !verdict.Finite(errors.Join(io.EOF, nilTree{}, fmt.Errorf("a %w", io.EOF))) || verdict.Finite(circle{}) || verdict.Finite(errors.Join(io.EOF, circles{})) {
		t.Error("only circles have no end")
	}
}

type circle struct{}

func (circle) Error() string   { return "round and round" }
func (c circle) Unwrap() error { return c }

type circles struct{}

func (circles) Error() string     { return "more and more" }
func (c circles) Unwrap() []error { return []error{c, c, c} }

type nilTree struct{}

func (nilTree) Error() string   { return "nilTree" }
func (nilTree) Unwrap() []error { return []error{nil, nil} }

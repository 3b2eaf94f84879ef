package worker

import (
	"math"

	"github.com/racecar-go/racecar/internal/offsetmap"
	"github.com/racecar-go/racecar/kafka"
	"github.com/racecar-go/racecar/kafka/fetch"
	"github.com/racecar-go/racecar/racecar"
)

// maxMetadata is Kafka's default of offset.metadata.max.bytes.
const maxMetadata = 4096

// commitMetadata says how often the message at offset has failed, so that whoever gets
// the partition next goes on counting, how many claims began there without ending
// gracefully (unfinished_claims.go), and what is finished beyond it. Empty when there is nothing
// to say. Called with p.mu held.
func (p *partition) commitMetadata(offset int64, attempts, starts int) string {
	m := offsetmap.Metadata{Offset: offset, LeaderEpoch: -1, Starts: starts}
	if attempts > 0 {
		m.Failing = []offsetmap.Failing{{Offset: offset, Attempts: attempts}}
	}
	if len(p.finished) > 0 {
		m.LeaderEpoch, m.TopicID = kafka.LeaderEpoch(p.epoch.Load()).Leader(), offsetmap.TopicID(p.topicID[:4])
		m.Finished = p.finished.Between(offset, math.MaxInt64)
	}
	return m.Encode(maxMetadata)
}

// readMetadata returns what stands beside the offset that p begins with, if it was written
// for that. What lies beyond the log, or was written again, is not finished.
func (m *membership) readMetadata(p *partition, committed kafka.Commit, start fetch.Start) offsetmap.Metadata {
	found, err := offsetmap.Decode(committed.Metadata)
	if err != nil {
		m.w.partLog(p).WithError(err).WithField("offset", committed.Offset).Warn("the metadata of the committed offset is ignored")
	}
	if !found.Applies(start.Offset, committed.Epoch.Leader(), offsetmap.TopicID(start.TopicID[:4])) {
		return offsetmap.Metadata{}
	}
	_, _, high := (*p.source.Load()).Watermarks()
	if start.EpochEnd >= 0 {
		high = min(high, start.EpochEnd)
	}
	found.Finished = found.Finished.Between(start.Offset, high)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setFinished(found.Finished)
	return found
}

// markFinished notes that messages from first on, below next, are finished although one
// before them is not: they are not called (again), and stand in what is committed.
// markUnfinished takes that back. The executor owns p.
func (p *partition) markFinished(first, next int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setFinished(p.finished.Between(p.acks.position(), math.MaxInt64).With(first, next))
}

func (p *partition) markUnfinished(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setFinished(p.finished.Between(p.acks.position(), math.MaxInt64).Without(offset))
}

// setFinished is called with p.mu held, by whoever has p's cursor. The set is not changed
// afterwards.
func (p *partition) setFinished(finished offsetmap.Set) {
	p.finished, p.cursor.finished = finished, finished
}

// unfinishedOf returns the messages that are not finished.
func unfinishedOf(messages []racecar.Message, finished offsetmap.Set) []racecar.Message {
	left := messages[:0]
	for i := range messages {
		if !finished.Contains(messages[i].Offset) {
			left = append(left, messages[i])
		}
	}
	return left
}

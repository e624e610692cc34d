package interop

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// ledger knows what was produced to a topic, what the members of a group made of it, and what is known to be committed. Record i is in partition i modulo the number of partitions, at offset i divided by it.
type ledger struct {
	t          *testing.T
	name       string // of the client under test, for messages
	partitions int
	strict     bool // no client is too slow for its session
	loose      bool // clients commit partitions that they have lost, so that what is committed may go back
	session    time.Duration

	mu        sync.Mutex
	trace     trace
	cut       bool           // a node was cut off, so that two may have taken themselves for the coordinator
	ends      []int64        // by partition: what is acknowledged to the producer
	seen      []map[int64]by // by partition and offset: who processed it last
	records   int            // distinct ones
	repeats   repeats
	atRisk    int     // processed by members that were killed, and not known to be committed then
	committed []int64 // by partition: the most that anybody was told is committed
	polled    []int64 // by partition: what the last look found
	polls     int
	away      bool      // the coordinator, since it crashed and until a look succeeds
	left      time.Time // when it went away
	back      time.Time // when it was found again
	outages   int
	strayed   int // acknowledged commits below an earlier one, which only a client can be at fault for
	rewound   int // looks that found less than the look before
	wrong     int // errors
	events    []string
	times     map[string]int // each event's
	began     time.Time
}

// by is who processed a record, and when.
type by struct {
	who  *seat
	when time.Time
}

// repeats are records that were processed again, by why.
type repeats struct {
	kills, crash, other int
}

func (r repeats) sum() int { return r.kills + r.crash + r.other }

// seat is the place of one member in a ledger. It is what stands between a client and the ledger: a member that was killed has no say any more.
type seat struct {
	ledger   *ledger
	id       int
	kind     string
	instance string

	// guarded by ledger.mu
	killed    bool
	died      time.Time
	positions []int64 // by partition: one past the last record processed, 0 if there is none
	took      int
}

func newLedger(t *testing.T, name string, partitions int, session time.Duration) *ledger {
	l := &ledger{t: t, name: name, partitions: partitions, session: session, times: map[string]int{}, began: time.Now()}
	l.ends, l.committed, l.polled = make([]int64, partitions), make([]int64, partitions), make([]int64, partitions)
	l.trace = trace{commits: make([][]*commit, partitions), contacts: map[string]*call{}, ended: map[string]bool{}}
	for range partitions {
		l.seen = append(l.seen, map[int64]by{})
	}
	return l
}

func (l *ledger) seat(id int, kind string) *seat {
	return &seat{ledger: l, id: id, kind: kind, positions: make([]int64, l.partitions)}
}

func (s *seat) String() string { return fmt.Sprintf("member %d (%s)", s.id, s.kind) }

// note keeps what happened, for the day on which the test fails.
func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(format, args...)
}

func (l *ledger) noteLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.times[text]++
	switch n := l.times[text]; {
	case n == 4:
		text += " (and so on)"
	case n > 4 || len(l.events) == 2000:
		return
	}
	l.events = append(l.events, fmt.Sprintf("%8.3fs %s", time.Since(l.began).Seconds(), text))
}

// errorLocked fails the test, with a bound on how often it says so.
func (l *ledger) errorLocked(format string, args ...any) {
	if l.wrong++; l.wrong <= 10 {
		l.noteLocked("WRONG: "+format, args...)
		l.t.Errorf("%s: %s", l.name, fmt.Sprintf(format, args...))
	}
}

// fail fails the test.
func (l *ledger) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errorLocked(format, args...)
}

// produced notes that the record of that number is acknowledged.
func (l *ledger) produced(i int, partition int32, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(partition) != i%l.partitions || offset != int64(i/l.partitions) {
		l.errorLocked("record %d was acknowledged at partition %d offset %d", i, partition, offset)
	}
	l.ends[partition] = max(l.ends[partition], offset+1)
}

// process notes that a member has processed a record, and says whether the member is still alive.
func (s *seat) process(partition int32, offset int64, value []byte) bool {
	l := s.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.killed {
		return false
	}
	if want := fmt.Sprint(offset*int64(l.partitions) + int64(partition)); string(value) != want {
		l.errorLocked("partition %d offset %d: value %q, not %q", partition, offset, value, want)
	}
	starts := offset != s.positions[partition]
	if starts {
		l.noteLocked("%v starts partition %d at %d, of %d committed", s, partition, offset, l.committed[partition])
	}
	last, again := l.seen[partition][offset]
	l.seen[partition][offset] = by{s, time.Now()}
	s.positions[partition] = offset + 1
	s.took++
	if again {
		l.again(s, partition, offset, last)
	}
	switch {
	case !again:
		l.records++
	case last.who.killed:
		l.repeats.kills++
	case l.outages > 0 && (l.away || last.when.Before(l.back.Add(l.session/2))): // it could not be committed, or not by a client that finds out later than the look
		l.repeats.crash++
	default:
		if l.repeats.other++; l.repeats.other <= 5 {
			l.noteLocked("partition %d offset %d: %v repeats what %v processed %v ago", partition, offset, s, last.who, time.Since(last.when))
		}
	}
	if offset < l.committed[partition] && (starts || l.strict) && !l.loose { // who goes on after its session has ended, on a busy machine, does not know
		l.errorLocked("partition %d offset %d: %v processes it, after %d was committed", partition, offset, s, l.committed[partition])
	}
	return true
}

// ackedLocked notes that a member was told that its commit holds.
func (s *seat) ackedLocked(partition int32, next int64) {
	l := s.ledger
	if s.killed {
		return
	}
	if next < l.committed[partition] {
		l.strayed++
		l.noteLocked("%v commits %d in partition %d, after %d", s, next, partition, l.committed[partition])
	}
	l.committed[partition] = max(l.committed[partition], next)
}

// kill notes that a member vanishes: from here on nothing of it counts.
func (s *seat) kill() {
	l := s.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s.killed, s.died = true, time.Now()
	for p, next := range s.positions {
		if next > l.committed[p] {
			l.atRisk += int(next - l.committed[p])
		}
	}
	l.noteLocked("%v is killed, %d records may be processed again in all", s, l.atRisk)
}

// outage notes that the coordinator has gone away.
func (l *ledger) outage(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away, l.left = true, time.Now()
	l.outages++
	l.noteLocked(format, args...)
}

// known is what is known to be committed.
func (l *ledger) known() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.committed)
}

// poll checks what a look at the offsets found, against what was known when the look began.
func (l *ledger) poll(began time.Time, before, found []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls++
	if l.away && began.After(l.left) {
		l.away, l.back = false, time.Now()
		l.noteLocked("the coordinator is found again")
	}
	for p, o := range found {
		if o < before[p] && !l.loose {
			l.errorLocked("partition %d: the group has %d, after %d was committed", p, o, before[p])
		}
		if o < l.polled[p] {
			l.rewound++
			l.noteLocked("partition %d: the group has %d, after %d", p, o, l.polled[p])
		}
		if _, ok := l.seen[p][o-1]; o > 0 && !ok {
			l.errorLocked("partition %d: the group has %d, and nobody has processed the record before it", p, o)
		}
		l.polled[p] = o
		l.committed[p] = max(l.committed[p], o)
	}
}

// missing counts records that are acknowledged to the producer and were not processed.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range l.ends {
		for o := range end {
			if _, ok := l.seen[p][o]; !ok {
				n++
			}
		}
	}
	return n
}

// behind counts records that the group has not committed, as the last look found.
func (l *ledger) behind() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range l.ends {
		if l.loose && l.committed[p] == end {
			continue // a client that has committed everything, and less after it: the last word counts, and nobody will say another one
		}
		n += end - l.polled[p]
	}
	return n
}

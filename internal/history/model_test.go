package history_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/insynclog/insync/internal/history"
)

// model is a broker without faults of its own, and clients that delay, retry, lose answers, are refused, crash and rebalance. What it records is correct.
type model struct {
	rng    *rand.Rand
	now    time.Duration
	h      history.History
	logs   map[history.Place][]history.Item // with markers: an item without a producer
	places []history.Place
	plain  []string

	generation int64
	owner      map[history.Place]string
	committed  map[history.Place]int64
}

// pending is an operation whose answer has not come.
type pending struct {
	op  history.Op
	due time.Duration
}

func (m *model) tick() time.Duration {
	m.now += time.Duration(1 + m.rng.IntN(1000))
	return m.now
}

// modelHistory makes about n operations.
func modelHistory(seed uint64, n int) (history.History, history.Options) {
	m := &model{rng: rand.New(rand.NewPCG(seed, 1)), logs: map[history.Place][]history.Item{}, owner: map[history.Place]string{}, committed: map[history.Place]int64{}}
	for i := range int32(1 + m.rng.IntN(3)) {
		p := history.Place{Topic: "t", Partition: i}
		if seed%2 == 1 {
			p.ID[0] = byte(seed)
		}
		m.places = append(m.places, p)
		m.committed[p] = -1
	}
	producers := 1 + m.rng.IntN(4)
	sequence := make([]int64, producers)
	plain := make([]bool, producers)
	for i := range plain {
		if plain[i] = m.rng.IntN(4) == 0; plain[i] {
			m.plain = append(m.plain, fmt.Sprintf("p%d", i))
		}
	}
	consumers := make([]map[history.Place]int, 1+m.rng.IntN(3))
	for i := range consumers {
		consumers[i] = map[history.Place]int{}
	}
	var late []pending
	for len(m.h) < n {
		switch m.rng.IntN(10) {
		case 0, 1, 2, 3:
			i := m.rng.IntN(producers)
			late = append(late, m.send(i, &sequence[i], plain[i]))
		case 4, 5, 6:
			i := m.rng.IntN(len(consumers))
			m.poll(fmt.Sprintf("c%d", i), consumers[i])
		case 7:
			p := m.place()
			op := history.Op{Process: "lister", Kind: history.List, Place: p, Invoke: m.tick(), Offset: int64(len(m.logs[p]))}
			op.Complete = m.tick()
			m.h = append(m.h, op)
		case 8:
			m.group()
		default:
			if m.rng.IntN(4) == 0 { // a marker
				p := m.place()
				m.logs[p] = append(m.logs[p], history.Item{})
			}
		}
		late = slices.DeleteFunc(late, func(l pending) bool {
			if l.due > m.now {
				return false
			}
			l.op.Complete = m.tick()
			m.h = append(m.h, l.op)
			return true
		})
	}
	for _, l := range late {
		l.op.Complete = m.tick()
		m.h = append(m.h, l.op)
	}
	for _, p := range m.places {
		end := history.Op{Process: "final", Kind: history.List, Place: p, Invoke: m.tick(), Offset: int64(len(m.logs[p])), Final: true}
		end.Complete = m.tick()
		m.h = append(m.h, end)
		at := map[history.Place]int{}
		for at[p] < len(m.logs[p]) {
			m.read(history.Op{Process: "final", Kind: history.Poll, Final: true}, p, at, 1+m.rng.IntN(10))
		}
	}
	return m.h, history.Options{Plain: m.plain}
}

func (m *model) place() history.Place { return m.places[m.rng.IntN(len(m.places))] }

// send appends one batch to a partition; its answer comes later, and may be lost.
func (m *model) send(i int, sequence *int64, plain bool) pending {
	p := m.place()
	op := history.Op{Process: fmt.Sprintf("p%d", i), Kind: history.Send, Invoke: m.tick()}
	for range 1 + m.rng.IntN(3) {
		op.Items = append(op.Items, history.Item{Place: p, Offset: -1, Value: history.Value{Producer: op.Process, Sequence: *sequence, Place: p}})
		*sequence++
	}
	write := func() (base int) {
		base = len(m.logs[p])
		for n := range op.Items {
			item := op.Items[n]
			item.Offset = int64(base + n)
			m.logs[p] = append(m.logs[p], item)
		}
		return base
	}
	switch m.rng.IntN(8) {
	case 0:
		op.Outcome = history.Fail
	case 1:
		op.Outcome = history.Info // and never there
	case 2:
		op.Outcome = history.Info
		write()
	default:
		if plain && m.rng.IntN(3) == 0 { // the first answer got lost, and the other leader did not know
			write()
			op.Retried = true
		}
		base := write()
		for n := range op.Items {
			op.Items[n].Offset = int64(base + n)
		}
	}
	return pending{op, m.now + time.Duration(m.rng.IntN(20000))}
}

func (m *model) poll(name string, at map[history.Place]int) {
	p := m.place()
	switch m.rng.IntN(12) {
	case 0:
		at[p] = m.rng.IntN(len(m.logs[p]) + 1)
		m.note(history.Op{Process: name, Kind: history.Seek, Place: p, Offset: int64(at[p])})
	case 1:
		clear(at)
		m.note(history.Op{Process: name, Kind: history.Crash})
	default:
		m.read(history.Op{Process: name, Kind: history.Poll, Node: int32(1 + m.rng.IntN(3))}, p, at, 1+m.rng.IntN(10))
	}
}

func (m *model) note(op history.Op) {
	op.Invoke = m.tick()
	op.Complete = m.tick()
	m.h = append(m.h, op)
}

func (m *model) read(op history.Op, p history.Place, at map[history.Place]int, limit int) {
	op.Invoke = m.tick()
	for ; at[p] < len(m.logs[p]) && len(op.Items) < limit; at[p]++ {
		if item := m.logs[p][at[p]]; item.Value.Producer != "" {
			op.Items = append(op.Items, item)
		}
	}
	op.Place, op.To = p, int64(at[p])
	op.Complete = m.tick()
	m.h = append(m.h, op)
}

// group gives a partition to a member, or has its owner commit, or asks for what was committed.
func (m *model) group() {
	p := m.place()
	op := history.Op{Group: "g", Place: p}
	switch m.rng.IntN(4) {
	case 0:
		for _, p := range m.places {
			if m.owner[p] != "" {
				m.note(history.Op{Process: m.owner[p], Kind: history.Revoke, Group: "g", Place: p, Generation: m.generation})
			}
		}
		m.generation++
		for _, p := range m.places {
			m.owner[p] = fmt.Sprintf("m%d", m.rng.IntN(3))
			m.note(history.Op{Process: m.owner[p], Kind: history.Claim, Group: "g", Place: p, Generation: m.generation})
		}
	case 1:
		op.Process, op.Kind, op.Offset = "fetcher", history.Fetch, m.committed[p]
		m.note(op)
	default:
		if m.owner[p] == "" {
			return
		}
		op.Process, op.Kind, op.Generation = m.owner[p], history.Commit, m.generation
		op.Offset = max(0, m.committed[p]) + int64(m.rng.IntN(3))
		op.Outcome = history.Outcome(m.rng.IntN(3))
		if op.Outcome != history.Fail && !(op.Outcome == history.Info && m.rng.IntN(2) == 0) {
			m.committed[p] = op.Offset
		}
		m.note(op)
	}
}

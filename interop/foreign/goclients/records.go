package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// topic makes one whose partitions have leaders.
func (s *site) topic(name string, partitions int) (string, error) {
	name = s.prefix + name
	if err := s.createTopic(name, partitions, 3); err != nil {
		return "", err
	}
	return name, s.awaitLeaders(name, partitions)
}

func (s *site) awaitLeaders(topic string, partitions int) error {
	return await(fmt.Sprintf("%d partitions with leaders", partitions), func() (bool, error) {
		ps, err := s.partitions(topic)
		if err != nil || len(ps) != partitions {
			return false, err
		}
		for _, p := range ps {
			if p.leader <= 0 {
				return false, nil
			}
		}
		return true, nil
	})
}

func numbered(topic string, partitions, from, n int) (rs []record) {
	for i := from; i < from+n; i++ {
		rs = append(rs, record{topic: topic, partition: int32(i % partitions), key: []byte("k" + strconv.Itoa(i)), value: []byte(strconv.Itoa(i))})
	}
	return rs
}

// send produces records and waits for all of them; during is called after each has been queued, with the number of acknowledged ones.
func send(c client, how sending, rs []record, during func(i int, acked *atomic.Int64) error) error {
	p, err := c.producer(how)
	if err != nil {
		return err
	}
	var acked atomic.Int64
	var mu sync.Mutex
	var failed []error
	var wg sync.WaitGroup
	for i, r := range rs {
		wg.Add(1)
		p.send(r, func(err error) {
			defer wg.Done()
			if err == nil {
				acked.Add(1)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		})
		if during == nil {
			continue
		}
		if err := during(i, &acked); err != nil {
			return err // the producer is left behind: what it waits for may never come
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(90 * time.Second):
		return fmt.Errorf("%d of %d acknowledged after 90 s", acked.Load(), len(rs))
	}
	if err := p.close(); err != nil {
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d acknowledged, first error: %w", acked.Load(), len(rs), failed[0])
	}
	return nil
}

// readAll reads a topic from its beginning to its end.
func (s *site) readAll(topic string, partitions int) (all []record, err error) {
	for p := range int32(partitions) {
		from, err := s.offset(topic, p, timeEarliest)
		if err != nil {
			return nil, err
		}
		to, err := s.offset(topic, p, timeLatest)
		if err != nil {
			return nil, err
		}
		if from == to {
			continue
		}
		rs, err := s.read(topic, p, from, to)
		if err != nil {
			return nil, fmt.Errorf("read %s-%d from %d to %d: %w", topic, p, from, to, err)
		}
		all = append(all, rs...)
	}
	return all, nil
}

func (s *site) codec(codec string) (string, error) {
	t, err := s.topic("codec-"+codec, 3)
	if err != nil {
		return "", err
	}
	const n = 2000
	want := map[string]string{}
	rs := numbered(t, 3, 0, n)
	for i := range rs {
		rs[i].value = []byte("value " + strings.Repeat("abc", i%50))
		want[string(rs[i].key)] = string(rs[i].value)
	}
	if err := send(s.client, sending{codec: codec}, rs, nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 3)
	if err != nil {
		return "", err
	}
	got := map[string]string{}
	for _, r := range all {
		got[string(r.key)] = string(r.value)
	}
	if len(all) != n || !maps.Equal(got, want) {
		return "", fmt.Errorf("%d of %d records, or other values", len(all), n)
	}
	return fmt.Sprint(n, " records"), nil
}

func (s *site) headers() (string, error) {
	t, err := s.topic("headers", 1)
	if err != nil {
		return "", err
	}
	want := []header{{"a", []byte("1")}, {"a", []byte("2")}, {"null", nil}, {"empty", []byte{}}}
	if err := send(s.client, sending{}, []record{{topic: t, key: []byte("k"), value: []byte("v"), headers: want}}, nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != 1 || len(all[0].headers) != len(want) {
		return "", fmt.Errorf("got %v", all)
	}
	for i, h := range all[0].headers {
		if h.key != want[i].key || !bytes.Equal(h.value, want[i].value) {
			return "", fmt.Errorf("headers %v", all[0].headers)
		}
	}
	if all[0].headers[2].value != nil {
		return "the client reads null as empty", nil
	}
	return "", nil
}

func (s *site) tombstones() (string, error) {
	t, err := s.topic("tombstones", 1)
	if err != nil {
		return "", err
	}
	rs := []record{{topic: t, key: []byte("k")}, {topic: t, value: []byte("v")}}
	if err := send(s.client, sending{}, rs, nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != 2 || all[0].value != nil || string(all[0].key) != "k" || all[1].key != nil || string(all[1].value) != "v" {
		return "", fmt.Errorf("got %+v", all)
	}
	return "", nil
}

func (s *site) timestamps() (string, error) {
	t, err := s.topic("timestamps", 1)
	if err != nil {
		return "", err
	}
	const n = 500
	start := time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour) // younger than retention
	rs := numbered(t, 1, 0, n)
	for i := range rs {
		rs[i].at = start.Add(time.Duration(i) * time.Second)
	}
	if err := send(s.client, sending{small: true}, rs, nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != n {
		return "", fmt.Errorf("%d of %d records", len(all), n)
	}
	for i, r := range all {
		if !r.at.Equal(rs[i].at) {
			return "", fmt.Errorf("record %d has %v, want %v", i, r.at, rs[i].at)
		}
	}
	for _, i := range []int64{0, 1, 250, n - 1, n} {
		got, err := s.offset(t, 0, start.Add(time.Duration(i)*time.Second-500*time.Millisecond).UnixMilli())
		if err != nil {
			return "", err
		}
		if got != i && !(i == n && got == -1) { // some clients tell the end where the broker has nothing
			return "", fmt.Errorf("time of record %d: offset %d", i, got)
		}
	}
	greatest, err := s.offset(t, 0, timeGreatest)
	if errors.Is(err, noCall) {
		return "the client does not ask for the greatest timestamp", nil
	}
	if err == nil && greatest != n-1 {
		err = fmt.Errorf("greatest timestamp at %d", greatest)
	}
	return "", err
}

func (s *site) idempotent() (string, error) {
	t, err := s.topic("idempotent", 1)
	if err != nil {
		return "", err
	}
	const n = 20000
	if err := send(s.client, sending{idempotent: true, small: true}, numbered(t, 1, 0, n), nil); err != nil {
		return "", err
	}
	all, err := s.readAll(t, 1)
	if err != nil {
		return "", err
	}
	if len(all) != n {
		return "", fmt.Errorf("%d of %d", len(all), n)
	}
	for i, r := range all {
		if string(r.value) != strconv.Itoa(i) {
			return "", fmt.Errorf("offset %d has %s", i, r.value)
		}
	}
	return fmt.Sprint(n, " records in order"), nil
}

// leaderCrash kills a partition's leader while records are sent. A client that has no idempotent producer may send some twice.
func (s *site) leaderCrash() (note string, err error) {
	t, err := s.topic("crash", 1)
	if err != nil {
		return "", err
	}
	ps, err := s.partitions(t)
	if err != nil {
		return "", err
	}
	leader := ps[0].leader
	how := sending{idempotent: true, small: true}
	const n = 20000
	down := false
	crash := func(i int, acked *atomic.Int64) error {
		if i != n/3 {
			return nil
		}
		if err := await("a tenth is acknowledged", func() (bool, error) { return acked.Load() >= n/10, nil }); err != nil {
			return err
		}
		down = true
		return ctl("kill", leader)
	}
	err = send(s.client, how, numbered(t, 1, 0, n), crash)
	if _, none := errors.AsType[skip](err); none {
		how.idempotent = false
		err = send(s.client, how, numbered(t, 1, 0, n), crash)
	}
	var all []record
	if err == nil {
		all, err = s.readAll(t, 1)
	}
	if down {
		err = errors.Join(err, ctl("start", leader))
	}
	if err != nil {
		return "", err
	}
	if err := await("the restarted node is in sync", func() (bool, error) {
		ps, err := s.partitions(t)
		return err == nil && ps[0].isr == 3, err
	}); err != nil {
		return "", err
	}
	got := map[int]bool{}
	previous, again := -1, 0
	for _, r := range all {
		v, err := strconv.Atoi(string(r.value))
		switch {
		case err != nil:
			return "", err
		case got[v]:
			again++
		case v != previous+1:
			return "", fmt.Errorf("%d after %d at offset %d", v, previous, r.offset)
		default:
			got[v], previous = true, v
		}
	}
	if len(got) != n || (again > 0 && how.idempotent) {
		return "", fmt.Errorf("%d acknowledged, %d read, %d of them again", n, len(all), again)
	}
	if !how.idempotent {
		return fmt.Sprintf("%d acknowledged, none missing, in order, %d twice: the client has no idempotent producer", n, again), nil
	}
	return fmt.Sprint(n, " acknowledged, none missing, none twice, in order"), nil
}

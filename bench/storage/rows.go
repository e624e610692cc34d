package main

import (
	"fmt"
	"os"
)

// section is a part of the table: rows with the same columns and unit.
type section struct {
	title   string
	unit    string
	less    bool // a smaller value is better
	columns []*subject
	rows    []*row
}

// row is one task.
type row struct {
	section        *section
	records, batch string
	goals          []goal
	durable        bool // it waits for the disk
	opens          bool // it opens a log, and is not about records

	// begin prepares the task. What it returns measures one subject at a time, each once in a round.
	begin func(dir string, m meter) (measure func(s *subject) (sample, error), end func(), err error)

	samples map[*subject][]sample
}

// The sizes of records and the lengths of batches.
var (
	sizes   = []int{100, 1 << 10, 10 << 10}
	single  = length{"1 record", 1, 0}
	medium  = length{"64 KiB", 0, 64 << 10}
	lengths = []length{single, {"100 records", 100, 0}, medium, {"1 MiB", 0, 1 << 20}}
)

// length is that of a batch: in records, or in bytes of the encoded batch.
type length struct {
	name           string
	records, limit int
}

func sizeName(n int) string {
	if n >= 1<<10 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// sections are the whole table.
func sections() []*section {
	plain := append([]*subject{raw, insync}, peers...)
	encoding := append([]*subject{raw, insync, encoded}, peers...)
	decoding := append([]*subject{raw, insync, decoded}, peers...)
	all := []*section{
		{title: "Append to the page cache, one writer", unit: "MB/s", columns: encoding, rows: appendRows(false, false)},
		{title: "Append to the page cache, 64 writers", unit: "MB/s", columns: encoding, rows: appendRows(true, false)},
		{title: "Append durably, one writer waits", unit: "µs, median", less: true, columns: plain, rows: appendRows(false, true)},
		{title: "Append durably, 64 writers wait", unit: "MB/s", columns: plain, rows: appendRows(true, true)},
		{title: "Read from start to end", unit: "MB/s", columns: decoding, rows: scanRows()},
		{title: "Read a record by its offset", unit: "µs", less: true, columns: plain, rows: findRows()},
		{title: "Open a log of 1 GiB", unit: "ms", less: true, columns: plain, rows: reopenRows()},
	}
	for _, s := range all {
		for _, r := range s.rows {
			r.section, r.samples = s, map[*subject][]sample{}
		}
	}
	return all
}

// appendRows are the tasks of appending: each round begins with new logs.
func appendRows(crowd, durable bool) (rows []*row) {
	for _, size := range sizes {
		for _, length := range lengths {
			r := &row{records: sizeName(size), batch: length.name, durable: durable, goals: appendGoals(length, crowd, durable)}
			r.begin = func(dir string, m meter) (func(*subject) (sample, error), func(), error) {
				l := newLot(size, length.records, length.limit)
				return func(s *subject) (sample, error) {
					st, done, err := openNew(s, dir, options{durable: durable})
					if err != nil {
						return none, err
					}
					defer done()
					switch {
					case crowd:
						return m.crowd(st.shared(), l)
					case durable:
						return m.wait(st.append, l)
					default:
						return m.rate(st.append, l)
					}
				}, func() {}, nil
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// openNew opens a log in a directory of its own. done throws it away.
func openNew(s *subject, dir string, o options) (st store, done func(), err error) {
	own, err := os.MkdirTemp(dir, s.name)
	if err != nil {
		return nil, nil, err
	}
	st, err = s.open(own, o)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", s.name, err)
	}
	return st, func() {
		discard(own)
		_ = st.close() // which may complain of what is gone
		_ = os.RemoveAll(own)
	}, nil
}

// filled is a log that has something to read.
type filled struct {
	store
	done                    func()
	bytes, records, batches int
}

// fill writes about so many bytes of records.
func fill(s *subject, dir string, l lot, bytes int64, o options) (*filled, error) {
	st, done, err := openNew(s, dir, o)
	if err != nil {
		return nil, err
	}
	f := &filled{store: st, done: done}
	for i := 0; int64(f.bytes) < bytes; i++ {
		b := l.at(i)
		if err := st.append(b); err != nil {
			done()
			return nil, fmt.Errorf("fill %s: %w", s.name, err)
		}
		f.bytes += b.size
		f.batches++
		f.records += len(b.values)
	}
	return f, nil
}

// filledRow is a task of reading: each log is written once, and read in every round.
func filledRow(size int, length length, measure func(s *subject, f *filled, m meter) (sample, error)) *row {
	r := &row{records: sizeName(size), batch: length.name}
	r.begin = func(dir string, m meter) (func(*subject) (sample, error), func(), error) {
		l := newLot(size, length.records, length.limit)
		logs := map[*subject]*filled{}
		return func(s *subject) (sample, error) {
				f := logs[s]
				if f == nil {
					var err error
					if f, err = fill(s, dir, l, m.limit/2, options{find: true}); err != nil {
						return none, err
					}
					logs[s] = f
				}
				return measure(s, f, m)
			}, func() {
				for _, f := range logs {
					f.done()
				}
			}, nil
	}
	return r
}

// scanRows are the tasks of reading from start to end.
func scanRows() (rows []*row) {
	for _, size := range sizes {
		r := filledRow(size, medium, func(s *subject, f *filled, m meter) (sample, error) {
			from, ok := f.store.(reader)
			switch {
			case !ok:
				return none, nil
			case s == raw || s == insync:
				return m.scan(from, f.bytes/f.batches, f.records/f.batches)
			default:
				return m.scan(from, f.bytes/f.records, 1)
			}
		})
		r.goals = []goal{ratioAtLeast(0.9)}
		rows = append(rows, r)
	}
	return rows
}

// findRows are the tasks of reading at random.
func findRows() (rows []*row) {
	for _, length := range []length{single, medium} {
		for _, size := range sizes {
			r := filledRow(size, length, func(_ *subject, f *filled, m meter) (sample, error) {
				if from, ok := f.store.(finder); ok {
					return m.find(from, f.records)
				}
				return none, nil
			})
			if length == single {
				r.goals = []goal{below(3, "µs")}
			}
			rows = append(rows, r)
		}
	}
	for _, size := range sizes {
		r := filledRow(size, medium, func(_ *subject, f *filled, m meter) (sample, error) {
			if from, ok := f.store.(*insyncStore); ok {
				return m.find(lookup{from.Log}, f.records)
			}
			return none, nil
		})
		r.batch += ", only looked up"
		r.goals = []goal{below(3, "µs")}
		rows = append(rows, r)
	}
	return rows
}

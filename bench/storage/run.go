package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// run measures, says on progress what it is at, and prints a section of the table to out as soon as it is complete.
func run(c settings, out, progress io.Writer) error {
	dir, err := os.MkdirTemp(c.dir, "storage-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	all := sections()
	fmt.Fprint(out, heading(c))
	for _, s := range all {
		rows := s.rows
		s.rows = nil
		for _, r := range rows {
			if c.wants(s, r) {
				s.rows = append(s.rows, r)
			}
		}
		for _, r := range s.rows {
			fmt.Fprintf(progress, "%5.0fs  %s: %s, %s\n", time.Since(began).Seconds(), s.title, r.records, r.batch)
			if err := r.run(c, dir); err != nil {
				return fmt.Errorf("%s: %s, %s: %w", s.title, r.records, r.batch, err)
			}
		}
		if len(s.rows) > 0 {
			fmt.Fprint(out, s.table())
		}
	}
	fmt.Fprint(out, summary(all), legend())
	fmt.Fprintf(progress, "%5.0fs  done\n", time.Since(began).Seconds())
	return nil
}

// run does all rounds of a row.
func (r *row) run(c settings, dir string) error {
	m := meter{budget: c.cached, limit: c.limit, size: c.size, writers: c.writers, processor: c.processor}
	if r.durable {
		m.budget, m.processor = c.durable, false
	}
	measure, end, err := r.begin(dir, m)
	if end != nil {
		defer end()
	}
	if err != nil {
		return err
	}
	columns := r.section.columns
	for round := range c.rounds {
		for i := range columns {
			s := columns[(i+round)%len(columns)]
			got, err := measure(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			r.samples[s] = append(r.samples[s], got)
		}
	}
	return nil
}

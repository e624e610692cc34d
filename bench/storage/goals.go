package main

import (
	"fmt"
	"math"
	"slices"
)

// goal is something to reach in a row.
type goal struct {
	text string
	// missed says by what the goal is missed; "" if it is met.
	missed func(r *row) string
}

// ratio is the median of the rounds' ratios of a to b, with the smallest and the largest.
func (r *row) ratio(a, b *subject) (median, least, most float64) {
	of := make([]float64, 0, len(r.samples[a]))
	for i, s := range r.samples[a] {
		if i < len(r.samples[b]) {
			of = append(of, s.value/r.samples[b][i].value)
		}
	}
	if len(of) == 0 || math.IsNaN(of[0]) {
		return math.NaN(), math.NaN(), math.NaN()
	}
	return middle(of), slices.Min(of), slices.Max(of)
}

// value is the median of the rounds.
func (r *row) value(s *subject) float64 {
	return r.middle(s, func(s sample) float64 { return s.value })
}

func (r *row) middle(s *subject, of func(sample) float64) float64 {
	v := make([]float64, 0, len(r.samples[s]))
	for _, s := range r.samples[s] {
		v = append(v, of(s))
	}
	if len(v) == 0 {
		return math.NaN()
	}
	return middle(v)
}

// middle is the median.
func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func ratioAtLeast(least float64) goal {
	return goal{fmt.Sprintf("≥ %.2f raw", least), func(r *row) string {
		if ratio, _, _ := r.ratio(insync, raw); ratio < least {
			return fmt.Sprintf("%.2f", ratio)
		}
		return ""
	}}
}

func ratioAtMost(most float64) goal {
	return goal{fmt.Sprintf("≤ %.2g raw", most), func(r *row) string {
		if ratio, _, _ := r.ratio(insync, raw); ratio > most {
			return fmt.Sprintf("%.2f", ratio)
		}
		return ""
	}}
}

func below(limit float64, unit string) goal {
	return goal{fmt.Sprintf("< %g %s", limit, unit), func(r *row) string {
		if v := r.value(insync); v >= limit {
			return format(v)
		}
		return ""
	}}
}

// fastest wants to be faster than all who take a checksum, too, and encode as they have to.
var fastest = goal{"fastest", func(r *row) string { return r.behind(encoded, 1, peers) }}

// nearBest wants nine tenths of the best group commit, the one around raw included.
var nearBest = goal{"≥ 0.9 best", func(r *row) string {
	return r.behind(insync, 0.9, append([]*subject{raw}, peers...))
}}

// behind names the first of others that s has less than so much of.
func (r *row) behind(s *subject, least float64, others []*subject) string {
	for _, o := range others {
		if ratio, _, _ := r.ratio(s, o); o.crc && ratio < least {
			return fmt.Sprintf("%.2f of %s", ratio, o.name)
		}
	}
	return ""
}

func appendGoals(length length, crowd, durable bool) []goal {
	switch {
	case !durable && !crowd && length == medium:
		return []goal{ratioAtLeast(0.85), fastest}
	case !durable:
		return []goal{fastest}
	case !crowd && length == medium:
		return []goal{ratioAtMost(1 / 1.2)} // at least 1.2 times as much as the raw writer
	case !crowd:
		return []goal{ratioAtMost(1.1)}
	default:
		return []goal{nearBest}
	}
}

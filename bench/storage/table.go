package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// heading says what was measured where.
func heading(c settings) string {
	return fmt.Sprintf("%s/%s, %s, %d cores, in %s. Medians of %d rounds; in brackets the least and the largest.\n",
		runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), c.dir, c.rounds)
}

// table is the section as a Markdown table that is also to be read as it is.
func (s *section) table() string {
	head := []string{"records", "batch"}
	for _, c := range s.columns {
		name := c.name
		if !c.crc {
			name += "*"
		}
		head = append(head, name)
	}
	lines := [][]string{append(head, "insync/raw", "CPU", "goal", "met")}
	before := ""
	for _, r := range s.rows {
		records := r.records
		if records == before {
			records = ""
		}
		before = r.records
		line := []string{records, r.batch}
		for _, c := range s.columns {
			line = append(line, format(r.value(c)))
		}
		lines = append(lines, append(line, r.ratioText(), r.cpuText(), r.goalText(), r.metText()))
	}
	return fmt.Sprintf("\n## %s, %s\n\n%s", s.title, s.unit, align(lines))
}

func (r *row) ratioText() string {
	median, least, most := r.ratio(insync, raw)
	if math.IsNaN(median) {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median, least, most)
}

// cpuText is the ratio of the processor times, which a busy machine hardly changes.
func (r *row) cpuText() string {
	cpu := func(s sample) float64 { return s.cpu }
	ratio := r.middle(insync, cpu) / r.middle(raw, cpu)
	if math.IsNaN(ratio) || math.IsInf(ratio, 0) || math.IsNaN(r.value(raw)) {
		return "–"
	}
	return strconv.FormatFloat(ratio, 'f', 2, 64)
}

func (r *row) goalText() string {
	var all []string
	for _, g := range r.goals {
		all = append(all, g.text)
	}
	return strings.Join(all, ", ")
}

// metText says yes, or which goal was missed.
func (r *row) metText() string {
	if len(r.goals) == 0 {
		return ""
	}
	for _, g := range r.goals {
		if by := g.missed(r); by != "" {
			return "NO: " + by
		}
	}
	return "yes"
}

// summary counts the goals, and tells the most allocations for a record that each log had in a row.
func summary(all []*section) string {
	var b strings.Builder
	rows, met := 0, 0
	type most struct {
		allocs float64
		in     string
	}
	var order []*subject
	worst := map[*subject]most{}
	for _, s := range all {
		for _, r := range s.rows {
			if len(r.goals) > 0 {
				rows++
				if r.metText() == "yes" {
					met++
				}
			}
			for _, c := range s.columns {
				v := r.middle(c, func(s sample) float64 { return s.allocs })
				if math.IsNaN(v) || math.IsNaN(r.value(c)) || r.opens {
					continue
				}
				had, known := worst[c]
				if !known {
					order = append(order, c)
				}
				if !known || v > had.allocs {
					worst[c] = most{v, fmt.Sprintf("%s: %s, %s", s.title, r.records, r.batch)}
				}
			}
		}
	}
	fmt.Fprintf(&b, "\nGoals met in %d of %d rows.\n\nMost allocations for a record:\n\n", met, rows)
	for _, c := range order {
		fmt.Fprintf(&b, "- %s: %.3f (%s)\n", c.name, worst[c].allocs, worst[c].in)
	}
	return b.String()
}

// legend says what the columns are.
func legend() string {
	return `
insync appends batches that a producer has encoded, and reads whole batches; encoded and decoded do the rest too, record by record, as all others do. It is encoded that is to be fastest.
raw is pwrite and CRC32C of the same bytes, one file that grows; with 64 writers and durable, the simplest group commit. * takes no checksum.
`
}

// format rounds to three digits.
func format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// align makes a Markdown table whose columns are as wide as what is in them; numbers are on the right.
func align(lines [][]string) string {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	left := func(i int) bool { return i < 2 || i >= len(width)-2 }
	rule := make([]string, len(width))
	for i, w := range width {
		rule[i] = strings.Repeat("-", w)
		if !left(i) {
			rule[i] = rule[i][1:] + ":"
		}
	}
	var b strings.Builder
	for _, line := range slices.Insert(slices.Clone(lines), 1, rule) {
		b.WriteString("|")
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if left(i) {
				b.WriteString(" " + cell + pad + " |")
			} else {
				b.WriteString(" " + pad + cell + " |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

package configs

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Error is an unknown key or a value against the rules. Kafka: INVALID_CONFIG.
type Error struct{ Key, Value, Reason string }

// Error names the key, the value and the rule.
func (e *Error) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("config %s: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("invalid value %s for config %s: %s", e.Value, e.Key, e.Reason)
}

// rule is what a value must obey beyond its type. min and max are used for numbers only, both inclusive.
type rule struct {
	min, max float64
	oneOf    []string                  // the value, or each element of a list
	check    func(value string) string // returns what is wrong, or ""
}

func atLeast(n float64) *rule      { return &rule{min: n, max: math.Inf(1)} }
func between(lo, hi float64) *rule { return &rule{min: lo, max: hi} }
func oneOf(values ...string) *rule { return &rule{min: math.Inf(-1), max: math.Inf(1), oneOf: values} }

func must(f func(value string) string) *rule {
	return &rule{min: math.Inf(-1), max: math.Inf(1), check: f}
}

// maxValueBytes is the longest value Kafka stores.
const maxValueBytes = 32767

// Validate checks one value against the key's type and rule.
func (k Key) Validate(value string) error {
	bad := func(format string, args ...any) error {
		shown := value
		if k.Sensitive {
			shown = "[hidden]"
		}
		return &Error{Key: k.Name, Value: shown, Reason: fmt.Sprintf(format, args...)}
	}
	if len(value) > maxValueBytes {
		return &Error{Key: k.Name, Reason: fmt.Sprintf("the value has %d bytes, more than %d", len(value), maxValueBytes)}
	}
	number, isNumber, reason := k.number(value)
	switch {
	case reason != "":
		return bad("%s", reason)
	case k.rule == nil:
		return nil
	case isNumber && number < k.rule.min:
		return bad("value must be at least %s", trim(k.rule.min))
	case isNumber && number > k.rule.max:
		return bad("value must be no more than %s", trim(k.rule.max))
	}
	if k.rule.oneOf != nil {
		values := []string{value}
		if k.Type == List {
			values = SplitList(value)
		}
		for _, v := range values {
			if !slices.Contains(k.rule.oneOf, v) {
				return bad("must be one of: %s", strings.Join(k.rule.oneOf, ", "))
			}
		}
		if slices.Sort(values); len(slices.Compact(values)) != len(values) {
			return bad("a value is given twice")
		}
	}
	if k.rule.check != nil {
		if reason := k.rule.check(value); reason != "" {
			return bad("%s", reason)
		}
	}
	return nil
}

// number parses value by the key's type. reason says what is wrong with it.
func (k Key) number(value string) (n float64, isNumber bool, reason string) {
	value = strings.TrimSpace(value)
	bits := 0
	switch k.Type {
	case Boolean:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return 0, false, "expected true or false"
		}
		return 0, false, ""
	case Double:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, false, "not a number of type DOUBLE"
		}
		return f, true, ""
	case Short:
		bits = 16
	case Int:
		bits = 32
	case Long:
		bits = 64
	default:
		return 0, false, ""
	}
	i, err := strconv.ParseInt(value, 10, bits)
	if err != nil {
		return 0, false, "not a number of type " + k.Type.String()
	}
	return float64(i), true, ""
}

func trim(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// SplitList splits a value of type List at commas, trimming spaces; "" is the empty list.
func SplitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// ValidateTopic checks a set of topic overrides; the error (*Error) names key, value and rule. Kafka: INVALID_CONFIG.
// With several problems the one of the first key in order is reported.
func ValidateTopic(overrides map[string]string) error {
	if err := validate(overrides, topicKeys, "unknown topic config name", false); err != nil {
		return err
	}
	lo, _ := parseLong(first(overrides, "min.compaction.lag.ms", "0"))
	hi, _ := parseLong(first(overrides, "max.compaction.lag.ms", strconv.FormatInt(math.MaxInt64, 10)))
	if lo > hi {
		return &Error{Key: "max.compaction.lag.ms", Value: strconv.FormatInt(hi, 10), Reason: fmt.Sprintf("must be no less than min.compaction.lag.ms, which is %d", lo)}
	}
	return nil
}

// ValidateBroker checks dynamic broker configs: known keys, values by their rules, none that only takes effect at start.
func ValidateBroker(overrides map[string]string) error {
	return validate(overrides, brokerKeys, "unknown broker config name", true)
}

// ValidateStatic checks the broker configs given when a node starts.
func ValidateStatic(static map[string]string) error {
	return validate(static, brokerKeys, "unknown broker config name", false)
}

func validate(values map[string]string, keys []Key, unknown string, dynamic bool) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		k, ok := lookup(keys, name)
		if !ok {
			return &Error{Key: name, Reason: unknown}
		}
		if dynamic && k.ReadOnly {
			return &Error{Key: name, Reason: "cannot be changed while the node runs"}
		}
		if err := k.Validate(values[name]); err != nil {
			return err
		}
	}
	return nil
}

func first(m map[string]string, key, otherwise string) string {
	if v, ok := m[key]; ok {
		return v
	}
	return otherwise
}

func parseLong(v string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	return n, err == nil
}

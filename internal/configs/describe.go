package configs

import (
	"math"
	"strconv"
)

// Source tells where a value comes from, with the numbers of DescribeConfigs.
type Source int8

// The sources.
const (
	FromTopic          Source = 1
	FromBroker         Source = 2
	FromClusterDefault Source = 3
	FromStatic         Source = 4
	FromDefault        Source = 5
)

// Entry is one value as DescribeConfigs shows it, with synonyms in order of precedence.
type Entry struct {
	Key      Key
	Value    string
	Source   Source
	Synonyms []Synonym
}

// Synonym is one place that could give the value.
type Synonym struct {
	Name, Value string
	Source      Source
}

// ForReplicas returns the entry as it is for a topic of that replication factor: the default of min.insync.replicas depends on it.
func (e Entry) ForReplicas(replicas int) Entry {
	if e.Key.Name != "min.insync.replicas" || e.Source != FromDefault {
		return e
	}
	e.Value = strconv.Itoa(Topic{}.MinISR(replicas))
	if len(e.Synonyms) == 1 {
		e.Synonyms = []Synonym{{Name: e.Synonyms[0].Name, Value: e.Value, Source: FromDefault}}
	}
	return e
}

// layers are the places a value can be set in.
type layers struct {
	topic, broker, cluster, static map[string]string
	brokerKeys                     bool // the keys asked for are broker keys: they have no synonyms but themselves
}

// each calls yield with every place that has a valid value for k, in order of precedence, the default last.
func (l layers) each(k Key, yield func(Synonym) bool) {
	if v, ok := l.topic[k.Name]; ok && k.Validate(v) == nil && !yield(Synonym{k.Name, v, FromTopic}) {
		return
	}
	names := k.synonyms()
	if l.brokerKeys {
		names = []scaled{{k.Name, 1}}
	}
	dynamic := []struct {
		values map[string]string
		source Source
	}{{l.broker, FromBroker}, {l.cluster, FromClusterDefault}, {l.static, FromStatic}}
	for _, layer := range dynamic {
		if len(layer.values) == 0 {
			continue
		}
		for _, n := range names {
			v, ok := layer.values[n.name]
			if !ok {
				continue
			}
			if v, ok = scale(v, n.unit); ok && k.Validate(v) == nil && !yield(Synonym{n.name, v, layer.source}) {
				return
			}
		}
	}
	name := k.Name
	if len(names) > 0 {
		name = names[len(names)-1].name
	}
	yield(Synonym{name, k.Default, FromDefault})
}

// scale multiplies v by unit, keeping negative values ("without limit") and saturating.
func scale(v string, unit int64) (string, bool) {
	if unit == 1 {
		return v, true
	}
	n, ok := parseLong(v)
	switch {
	case !ok:
		return "", false
	case n < 0:
		return strconv.FormatInt(n, 10), true
	case n > math.MaxInt64/unit:
		return maxLong, true
	}
	return strconv.FormatInt(n*unit, 10), true
}

// resolve returns the first of each.
func (l layers) resolve(k Key) (found Synonym) {
	l.each(k, func(s Synonym) bool {
		found = s
		return false
	})
	return found
}

func (l layers) entry(k Key) Entry {
	e := Entry{Key: k}
	l.each(k, func(s Synonym) bool {
		e.Synonyms = append(e.Synonyms, s)
		return true
	})
	e.Value, e.Source = e.Synonyms[0].Value, e.Synonyms[0].Source
	return e
}

// DescribeTopic lists all entries of a topic by name, through the layers of Effective.
func DescribeTopic(topic, broker, cluster, static map[string]string) []Entry {
	return describe(topicKeys, layers{topic: topic, broker: broker, cluster: cluster, static: static})
}

// DescribeBroker lists all entries of a broker by name; for the cluster-wide default resource give it as cluster with broker and static nil.
func DescribeBroker(broker, cluster, static map[string]string) []Entry {
	return describe(brokerKeys, layers{broker: broker, cluster: cluster, static: static, brokerKeys: true})
}

func describe(keys []Key, l layers) []Entry {
	entries := make([]Entry, 0, len(keys))
	for _, k := range keys {
		e := l.entry(k)
		if k.Internal && e.Source == FromDefault {
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

package configs

import (
	"slices"
	"strings"
)

// Type is a config's type, with the number that DescribeConfigs gives it.
type Type int8

// The types.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String is Kafka's name of the type.
func (t Type) String() string {
	switch t {
	case Boolean:
		return "BOOLEAN"
	case String:
		return "STRING"
	case Int:
		return "INT"
	case Short:
		return "SHORT"
	case Long:
		return "LONG"
	case Double:
		return "DOUBLE"
	case List:
		return "LIST"
	case Class:
		return "CLASS"
	case Password:
		return "PASSWORD"
	}
	return "UNKNOWN"
}

// Key is one config key.
type Key struct {
	Name          string
	Type          Type
	Default       string // as Kafka prints it; a value of its own type, or "" for none
	BrokerSynonym string // of a topic key: the broker key that holds its default
	ReadOnly      bool   // not changeable while the node runs
	Internal      bool   // not listed unless it is set
	Sensitive     bool   // the value must not be shown
	Doc           string

	rule *rule
	// below are further broker keys that can give a topic key's value, after BrokerSynonym, in order of precedence.
	below []scaled
}

// scaled is a broker key whose value is in another unit: a topic key's value is that many times the broker key's.
type scaled struct {
	name string
	unit int64
}

// TopicKeys lists the known topic keys by name. The slice is the caller's.
func TopicKeys() []Key { return slices.Clone(topicKeys) }

// BrokerKeys lists the known broker keys by name. The slice is the caller's.
func BrokerKeys() []Key { return slices.Clone(brokerKeys) }

// LookupTopic finds a topic key.
func LookupTopic(name string) (Key, bool) { return lookup(topicKeys, name) }

// LookupBroker finds a broker key.
func LookupBroker(name string) (Key, bool) { return lookup(brokerKeys, name) }

func lookup(keys []Key, name string) (Key, bool) {
	i, ok := slices.BinarySearchFunc(keys, name, func(k Key, name string) int { return strings.Compare(k.Name, name) })
	if !ok {
		return Key{}, false
	}
	return keys[i], true
}

// synonyms are the broker keys that can give a topic key's value, in order of precedence.
func (k Key) synonyms() []scaled {
	if k.BrokerSynonym == "" {
		return nil
	}
	return append([]scaled{{k.BrokerSynonym, 1}}, k.below...)
}

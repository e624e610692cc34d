package acl

import "fmt"

// ResourceType is Kafka's code of a kind of resource. The zero value is not a valid one.
type ResourceType int8

// The types of resources. Wire format: never reorder.
const (
	UnknownResource ResourceType = iota
	AnyResource                  // in filters only
	Topic
	Group
	Cluster
	TransactionalID
	DelegationToken
	User
)

// ClusterName is the name of the only resource of type Cluster.
const ClusterName = "kafka-cluster"

// PatternType is Kafka's code of how the name in a pattern is meant (KIP-290). The zero value is not a valid one.
type PatternType int8

// The types of patterns. Wire format: never reorder.
const (
	UnknownPattern PatternType = iota
	AnyPattern                 // in filters only: patterns of either type with exactly this name
	Match                      // in filters only: patterns of either type that a resource of this name matches
	Literal                    // the resource of this name; every resource if the name is Wildcard
	Prefixed                   // every resource whose name starts with this one
)

// Operation is Kafka's code of an operation. The zero value is not a valid one.
type Operation int8

// The operations. Wire format: never reorder; a set of them is a bit field of 32 bits.
const (
	UnknownOperation Operation = iota
	AnyOperation               // in filters only
	All                        // in bindings: every operation
	Read
	Write
	Create
	Delete
	Alter
	Describe
	ClusterAction
	DescribeConfigs
	AlterConfigs
	IdempotentWrite
	CreateTokens
	DescribeTokens
	operations // how many there are
)

// Permission is Kafka's code of what a binding does. The zero value is not a valid one.
type Permission int8

// The permissions. Wire format: never reorder.
const (
	UnknownPermission Permission = iota
	AnyPermission                // in filters only
	Deny
	Allow
)

// Wildcard is the name of a literal pattern for all resources, and the host of a binding for all hosts.
const Wildcard = "*"

// WildcardPrincipal is the principal of a binding for all principals, of whatever type.
const WildcardPrincipal = "User:*"

func (t ResourceType) concrete() bool { return Topic <= t && t <= User }
func (t PatternType) concrete() bool  { return t == Literal || t == Prefixed }
func (o Operation) concrete() bool    { return All <= o && o < operations }
func (p Permission) concrete() bool   { return p == Deny || p == Allow }

func (t ResourceType) String() string {
	return name(int(t), "ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER")
}

func (t PatternType) String() string {
	return name(int(t), "ANY", "MATCH", "LITERAL", "PREFIXED")
}

func (o Operation) String() string {
	return name(int(o), "ANY", "ALL", "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE",
		"CREATE_TOKENS", "DESCRIBE_TOKENS")
}

func (p Permission) String() string {
	return name(int(p), "ANY", "DENY", "ALLOW")
}

// name is Kafka's for code 1 and up.
func name(code int, names ...string) string {
	if code < 1 || code > len(names) {
		return fmt.Sprintf("UNKNOWN(%d)", code)
	}
	return names[code-1]
}

// Operations is a set of operations: bit 1<<code for each, as Metadata, DescribeCluster and the like tell what a client is authorized for (KIP-430).
type Operations int32

// everything has the bit of every operation, All included.
const everything = Operations(1<<operations - 1<<All)

func (o Operation) bit() Operations { return 1 << o }

// Has says whether o is in the set.
func (s Operations) Has(o Operation) bool { return o.concrete() && s&o.bit() != 0 }

func setOf(ops ...Operation) (s Operations) {
	for _, o := range ops {
		s |= o.bit()
	}
	return s
}

// Supported returns the operations that exist for a type of resource, without All. It is what a client is told to be authorized for when there are no rules.
func Supported(t ResourceType) Operations {
	switch t {
	case Topic:
		return setOf(Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs)
	case Group:
		return setOf(Read, Describe, Delete, DescribeConfigs, AlterConfigs)
	case Cluster:
		return setOf(Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe)
	case TransactionalID:
		return setOf(Describe, Write)
	case DelegationToken:
		return setOf(Describe)
	case User:
		return setOf(CreateTokens, DescribeTokens)
	default:
		return 0
	}
}

// allowedBy returns what a binding that allows o allows.
func allowedBy(o Operation) Operations {
	switch o {
	case All:
		return everything
	case Read, Write, Delete, Alter:
		return setOf(o, Describe)
	case AlterConfigs:
		return setOf(o, DescribeConfigs)
	default:
		return o.bit()
	}
}

// deniedBy returns what a binding that denies o denies.
func deniedBy(o Operation) Operations {
	if o == All {
		return everything
	}
	return o.bit()
}

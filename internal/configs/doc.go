// Package configs is the table of Kafka's topic and broker config keys: types, defaults, rules, documentation.
//
// A topic's value is looked for in layers; the first that has the key wins:
//
//	topic override            IncrementalAlterConfigs, CreateTopics        FromTopic
//	  └ dynamic broker        resource "broker", name = id                 FromBroker
//	      └ dynamic cluster   resource "broker", name = ""                 FromClusterDefault
//	          └ static        given when the node was started              FromStatic
//	              └ default   Kafka's, or insync's where Doc says so       FromDefault
//
// Below the topic layer a topic key goes by its broker synonyms (retention.ms is log.retention.ms, then
// log.retention.minutes, then log.retention.hours).
//
// Invariants: the tables are sorted by name and every default obeys its own rule. Nothing here can be changed at run time; every
// function is pure and safe for concurrent use. The package knows nothing of where the layers are stored or who may change them.
//
// Source of truth: Kafka's configuration reference (topic and broker sections), KIP-226 (dynamic broker configs), KIP-339 (incremental changes),
// KIP-569 (types and documentation in DescribeConfigs).
package configs

// Package partition holds sets of partitions as group coordinators reckon with them.
//
//	Set:  topic 3f…  [0 1 2 7]      topics in order of their ids, each once
//	      topic 9a…  [4]            numbers in order, each once, never none
//
// Invariants: a Set is canonical, so that equal sets are equal element by element; it is immutable once made, so that sets share memory freely. The operations are linear in the sizes of their
// operands and return an operand itself where that is the result.
//
// It is a leaf: no clock, no goroutine, no map whose order could be seen. What a topic's name is, is not its business.
package partition

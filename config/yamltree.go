package config

import (
	"regexp"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// entry is one key of a YAML mapping, with merges (<<) already done.
type entry struct {
	name  string
	value ast.Node
	token *token.Token // of the key
}

// resolveAliases notes what each alias stands for: the anchor of that name that
// came last before it. An anchor counts only after its own value, so that no alias
// can lead to itself.
func (r *fileReader) resolveAliases(node ast.Node, anchors map[string]ast.Node) {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			r.resolveAliases(v, anchors)
		}
	case *ast.MappingValueNode:
		r.resolveAliases(n.Key, anchors)
		r.resolveAliases(n.Value, anchors)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			r.resolveAliases(v, anchors)
		}
	case *ast.TagNode:
		r.resolveAliases(n.Value, anchors)
	case *ast.AnchorNode:
		r.resolveAliases(n.Value, anchors)
		if n.Name != nil {
			anchors[tokenValue(n.Name)] = n.Value
		}
	case *ast.AliasNode:
		name := tokenValue(n.Value)
		target, ok := anchors[name]
		if !ok {
			r.problem(n.GetToken(), "*%s: there is no anchor &%s before it", name, name)
			return
		}
		r.aliases[n] = target
	}
}

func tokenValue(n ast.Node) string {
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}

// resolve looks through anchors, aliases and the tags that change nothing.
func (r *fileReader) resolve(node ast.Node) ast.Node {
	for {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			target, ok := r.aliases[n]
			if !ok {
				return n // reported by resolveAliases
			}
			node = target
		case *ast.TagNode:
			if !harmlessTag.MatchString(n.Start.Value) {
				return n
			}
			node = n.Value
		default:
			return node
		}
	}
}

// harmlessTag matches YAML's own tags and Psych's for symbols: each key knows its
// type, whatever the tag says.
var harmlessTag = regexp.MustCompile(`^(!!(str|int|float|bool|null|seq|map)|!ruby/sym(bol)?)$`)

// mapping returns the keys of node when it is a mapping.
func (r *fileReader) mapping(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := r.resolve(node).(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func isNull(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, ok := node.(*ast.NullNode)
	return ok
}

// entries lists a mapping's keys. A key of its own overrides a merged one, and an
// earlier merge overrides a later one, as in YAML 1.1. Each mapping is read once,
// however often it is merged: aliases cannot be circular, but they can double at
// each step.
func (r *fileReader) entries(node ast.Node) (list []entry, ok bool) {
	values, ok := r.mapping(node)
	if !ok {
		return nil, false
	}
	node = r.resolve(node)
	if list, known := r.read[node]; known {
		return list, true
	}
	defer func() { r.read[node] = list }()
	index := map[string]bool{}
	var merges []ast.Node
	for _, v := range values {
		if v.Key == nil {
			continue
		}
		if v.Key.IsMergeKey() {
			merges = append(merges, v.Value)
			continue
		}
		e := entry{name: r.keyName(v.Key), value: v.Value, token: v.Key.GetToken()}
		if index[e.name] {
			r.problem(e.token, "%s is given twice in this section: keep one", e.name)
			continue
		}
		index[e.name] = true
		list = append(list, e)
	}
	for _, value := range merges {
		for _, source := range r.mergeSources(value) {
			merged, ok := r.entries(source)
			if _, reported := r.resolve(source).(*ast.AliasNode); !ok && !reported {
				r.problem(tokenOf(value), "<<: only sections can be merged")
			}
			for _, e := range merged {
				if !index[e.name] {
					index[e.name] = true
					list = append(list, e)
				}
			}
		}
	}
	return list, true
}

// mergeSources lists what a merge key merges: one mapping or several.
func (r *fileReader) mergeSources(value ast.Node) []ast.Node {
	if seq, ok := r.resolve(value).(*ast.SequenceNode); ok {
		return seq.Values
	}
	return []ast.Node{value}
}

func (r *fileReader) keyName(key ast.MapKeyNode) string {
	switch n := r.resolve(key).(type) {
	case *ast.StringNode:
		return n.Value
	case nil:
		return ""
	default:
		return tokenValue(n)
	}
}

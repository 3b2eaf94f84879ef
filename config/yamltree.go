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

// mapping returns node as a mapping, or nil.
func (r *fileReader) mapping(node ast.Node) *ast.MappingNode {
	switch n := r.resolve(node).(type) {
	case *ast.MappingNode:
		return n
	case *ast.MappingValueNode:
		return &ast.MappingNode{BaseNode: &ast.BaseNode{}, Start: n.Start, Values: []*ast.MappingValueNode{n}}
	}
	return nil
}

func isNull(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, ok := node.(*ast.NullNode)
	return ok
}

// maxMerges bounds how deep merges may be nested; aliases cannot be circular, but
// they can double at each step.
const maxMerges = 20

// entries lists a mapping's keys. A key of its own goes before a merged one, an
// earlier merge before a later one, as in YAML 1.1.
func (r *fileReader) entries(m *ast.MappingNode, depth int) []entry {
	if depth > maxMerges {
		r.problem(m.GetToken(), "merges nested more than %d deep", maxMerges)
		return nil
	}
	var list []entry
	index := map[string]bool{}
	var merges []ast.Node
	for _, v := range m.Values {
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
		for _, node := range r.mergeSources(value) {
			source := r.mapping(node)
			if source == nil {
				if _, reported := r.resolve(node).(*ast.AliasNode); !reported {
					r.problem(tokenOf(value), "<<: only sections can be merged")
				}
				continue
			}
			for _, e := range r.entries(source, depth+1) {
				if !index[e.name] {
					index[e.name] = true
					list = append(list, e)
				}
			}
		}
	}
	return list
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

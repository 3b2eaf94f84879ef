// Package docs checks what the Markdown files say: that links lead somewhere, Go
// compiles, YAML is what racecar reads, and that commands, flags, variables, files
// and names of the API exist. Its test is part of `go test ./...`.
//
// What an author has to know:
//
//   - A ```go block with a package clause is compiled and vetted as it stands. A
//     comment above the clause that is a path (// consumers/tap_dance_consumer.go)
//     puts it there, in a module example.com/app of the page, so that blocks can
//     belong together.
//   - A ```go block of declarations is compiled as well; the imports of packages that
//     everybody knows are added. What it needs and a reader does not can stand in a
//     comment right before it: <!-- with: func ban(id string) error { return nil } -->
//   - A ```go block of statements is compiled within func(ctx context.Context, m
//     *racecar.Message) error if there is such a comment (<!-- with: --> will do);
//     otherwise only its syntax is checked.
//   - A ```yaml block whose first line is # config/racecar.yml is loaded, for each
//     environment in it. Other YAML has to be YAML.
//   - In every other block, and in `code` within a line, what begins with racecar,
//     racecarctl or `go run .` must name commands and flags that there are. So must
//     "exec" lists such as ["racecar", "UserBanConsumer"].
package docs

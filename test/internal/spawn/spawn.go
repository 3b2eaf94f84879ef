// Package spawn starts processes that do not outlive the one that started them.
package spawn

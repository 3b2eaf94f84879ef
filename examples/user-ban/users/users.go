// Package users stores users in files, where an application would use a database.
package users

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// ErrNotFound is the error of Find for a user that does not exist.
var ErrNotFound = errors.New("no such user")

// User is a user.
type User struct {
	ID     int    `json:"id"`
	Name   string `json:"name"`
	Banned bool   `json:"banned"`
}

// Store is a directory of users.
type Store struct{ dir string }

// Open opens a store, and creates it if it does not exist.
func Open(dir string) (*Store, error) {
	return &Store{dir}, os.MkdirAll(dir, 0o755)
}

func (s *Store) file(id int) string { return filepath.Join(s.dir, strconv.Itoa(id)+".json") }

// Find returns a user.
func (s *Store) Find(id int) (User, error) {
	text, err := os.ReadFile(s.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return User{}, fmt.Errorf("user %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return User{}, err
	}
	var u User
	return u, json.Unmarshal(text, &u)
}

// Save writes a user atomically.
func (s *Store) Save(u User) error {
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	temporary := s.file(u.ID) + ".new"
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, s.file(u.ID))
}

package protocol

//go:generate go run github.com/otus-project/otus/internal/pluglist/cmd protocol ../..

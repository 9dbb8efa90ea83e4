package engine

//go:generate go run ../../internal/pluglist/cmd engine ../..

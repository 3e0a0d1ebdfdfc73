"""The official protobuf conformance runner, and small testees for it.

runner     finds the runner, or fetches it into a folder that git ignores
testee     the program that the runner talks to, over its standard input and output
command    generates the messages, runs the runner, prints what it found
"""

"""Encoding and decoding beside other protobuf implementations: each in a process of its own, in turn, round by round.

rows      the messages, as bytes
classes   the classes of each implementation, generated into a temporary folder
worker    the measured process
table     the run, its medians, and its text
"""

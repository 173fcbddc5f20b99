"""The version of this cfsweep."""

VERSION = "0.1.0"

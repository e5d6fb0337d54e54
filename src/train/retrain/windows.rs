//! Static against rolling training on leads that drift: the eight windows of the bank data, oldest first.

"""A packed online store: one row of bytes for each view and entity, written by Feast, read without it.

layout        what a view's rows are made of, and its hash
row           values of one row as bytes, and back; packed_strings: lists of strings left as they are
matrix        many rows as one matrix
sqlite_rows   rows in a SQLite file          (both have the same methods, and know nothing of Feast)
redis_rows    rows in Redis or Valkey
redis_server  the way to a server: URL, TLS, pool; redis_errors says why it does not serve
redis_sizes   how much memory each view takes there
values        Feast's protobuf values as plain ones, and back
arrow_rows    a table of a materialization as rows, column by column
online_store  the classes that `feature_store.yaml` names
reader        what the request path reads with: NumPy and a client, no Feast
"""

"""Keys of the callers: who may do what, how a key is found and compared, and where the service needs one."""

__all__ = ["access", "exposure", "key_proof", "key_ring", "key_store", "keys", "pages"]

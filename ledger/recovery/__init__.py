"""Recovery of a store that may be behind the world: it leaves a gap in the numbers and counts open calls as begun."""

__all__ = ["noted_head", "recover", "server"]

"""The OpenAPI document and the local Swagger UI."""

__all__ = ["document"]

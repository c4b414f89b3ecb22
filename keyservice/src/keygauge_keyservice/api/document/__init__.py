"""The parts of the OpenAPI document that are not an operation: schemas and samples."""

"""The Weftline contract: generated protobuf and gRPC code lives in `weftline.v1`."""

"""The binary protocol between gateway and runners: msgpack messages, no base64, no JSON of arrays, no pickle."""

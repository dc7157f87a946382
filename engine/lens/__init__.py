"""The lens: rows read, streamed, and proved."""

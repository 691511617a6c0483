"""What happened, provably: one record before every act and one after, chained by hashes, in JSON Lines."""

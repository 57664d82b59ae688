//! Local models through candle: files, tokenizer, generation, embeddings.

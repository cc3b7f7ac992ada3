//! What a user writes (`Document`), and the same thing checked (`Plan`).

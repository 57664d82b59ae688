//! The suite that every backend must pass, on the scripted server.

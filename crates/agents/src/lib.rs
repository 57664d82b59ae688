//! The agents of lumos: retriever, planner, forecaster, guard, router, judge, tool, generator.

"""Mapping: a manifest merged with the customer's file and compiled into plain functions; nothing here does I/O.

expressions.py   the grammar            functions*.py   what stands after `|` (FUNCTIONS)
compile.py       expressions → Code     calls.py        a chain of functions → Code
structure.py     shapes → Code          writer.py       Code → the source of one function per rule
merge.py         manifest + customer     rules.py        events → vendor events
envelope.py      URL, headers, wrap      assembly.py     bytes of a request
auth.py          stateless kinds         replies.py      verdicts
plan.py          CompiledPlan            trace.py        the slow evaluator behind `explain`
"""

from gateway.mapping.compiler import compile_plan, merged
from gateway.mapping.functions import FUNCTIONS, Function
from gateway.mapping.plan import CompiledPlan
from gateway.mapping.trace import FieldTrace, Trace, trace

__all__ = ["FUNCTIONS", "CompiledPlan", "FieldTrace", "Function", "Trace", "compile_plan", "merged", "trace"]

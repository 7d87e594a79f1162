"""Disclosure control: nobody can be found in what is published, not by subtraction either. See docs/disclosure.md.

`policy` (what an approval record declares), `system` (all counts of a release and the sums between them),
`suppression` (which cells go), `audit` (the proof), `protect` (one entry for a release).
"""

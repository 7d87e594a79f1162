"""Open data: catalogue, disclosure control, release and static pages.

What leaves the warehouse is declared once, in the published dbt models and in an approval record for each
dataset; everything else here (CSV, Parquet, Frictionless, pages) is derived from those two.
"""

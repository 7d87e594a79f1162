{#-
  A fee that is still to be paid: an amount is due and no payment is recorded. A fee of 0 is none (QĐ 766/QĐ-TTg,
  indicators 3.5 and 3.6: dossiers whose every Gia = 0 have no fee), a negative one is wrong data and owes nothing.
-#}
{% macro is_fee_owed(amount, paid_at) -%}
    ({{ amount }} > 0 and {{ paid_at }} is null)
{%- endmacro %}


{#-
  One payment of a fee made online, as the system that took it wrote down. Open data and published figures count such
  payments; operations centre and index ask of the whole dossier (below), as the portal does: a system may write one
  without the other, so the two shares differ.
-#}
{% macro is_fee_paid_online(payment_method) -%}
    ({{ payment_method }} = 'online')
{%- endmacro %}


{#- A dossier paid online through the national portal (1) or the local gateway (2): QĐ 766/QĐ-TTg, indicator 3.6. -#}
{% macro is_paid_online(online_payment_code) -%}
    coalesce({{ online_payment_code }} in (1, 2), false)
{%- endmacro %}

{#-
  A Vietnamese name in one spelling, for whatever compares or groups names: composed letters, single spaces, Đ where an
  Icelandic Ð was typed, and the tone mark of an open oa, oe or uy on its first vowel, as administrative documents mostly
  have it (Văn hóa, sức khỏe, Thủy sản). The other style (Văn hoá, sức khoẻ, Thuỷ sản) is as right and means the same name.
  Marks are moved among decomposed letters, so that one rule does for every mark and case. Closed syllables (toàn, hoặc,
  xuýt) and qu (quý) have one spelling only and stay. Names that have nothing of all this are passed on as they are.
-#}
{% macro in_one_spelling(name) -%}
    {%- set marks = '\\u0300\\u0301\\u0303\\u0309\\u0323' -%}
    {%- set no_letter_follows = '(?![A-Za-z\\u0300-\\u036f])' -%}
    case
        when
            {{ name }} ~ '[oO][àáảãạèéẻẽẹÀÁẢÃẠÈÉẺẼẸ]|[uU][ỳýỷỹỵỲÝỶỸỴ]|[Ðð]|\s\s|^\s|\s$'
            or {{ name }} is not nfc normalized
            then
                normalize(
                    regexp_replace(
                        regexp_replace(
                            normalize(
                                translate(btrim(regexp_replace({{ name }}, '\s+', ' ', 'g')), 'Ðð', 'Đđ'), nfd
                            ),
                            '([oO])([aeAE])([{{ marks }}]){{ no_letter_follows }}', '\1\3\2', 'g'
                        ),
                        '(?<![qQ])([uU])([yY])([{{ marks }}]){{ no_letter_follows }}', '\1\3\2', 'g'
                    ),
                    nfc
                )
        else {{ name }}
    end
{%- endmacro %}

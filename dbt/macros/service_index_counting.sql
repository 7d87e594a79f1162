{#-
  Counting of QĐ 766/QĐ-TTg: one macro for each clause. Source of all: the national portal's own note "Mô tả công thức tính
  chỉ số 766" (rules 7.4(b)), whose numbers of indicators stand before each; fields of the synchronised dossier in brackets.
  Where we read more into a clause than it says, [guess] says so. A test drops each clause in turn and sees a count change.
-#}


{#- 1.4, 2.1, 3.3, 4.3: a dossier counts by its NgayTiepNhan, and is ignored without. [guess] iGate and OpenCPS write a
    moment also for what still waits at the desk: status 1 is not received. -#}
{% macro index_is_received(received_at, status_code) -%}
    ({{ received_at }} is not null and {{ status_code }} is distinct from 1)
{%- endmacro %}


{#- 3.2, 3.5: NgayNopHoSo stands in where NgayTiepNhan is missing. -#}
{% macro index_moment_of_use(received_at, submitted_at) -%}
    coalesce({{ received_at }}, {{ submitted_at }})
{%- endmacro %}


{#- 1.4: synchronised: the portal has a code for it. Divided by the greater of what the national reporting system and the
    portal have as received. [guess] Neither is held here; what the province's own systems received stands in for the
    first, and the synchronised are a part of it. -#}
{% macro index_is_synchronised(national_code) -%}
    {{ national_code }} is not null
{%- endmacro %}


{#- 1.4: nothing received: the last year's total ÷ 12 for a month, ÷ 4 for a quarter, ÷ 1 for a year. -#}
{% macro index_received_or_share_of_last_year(received, last_year, parts_of_year) -%}
    coalesce(nullif({{ received }}, 0), round({{ last_year }}::numeric / {{ parts_of_year }}, 4), 0)
{%- endmacro %}


{#- 2.1: the end is first of all "Đã xử lý xong" (NgayKetThucXuLy). -#}
{% macro index_processed_at(status_code, completed_at) -%}
    case when {{ status_code }} in (9, 10) then {{ completed_at }} end
{%- endmacro %}


{#- 2.1: else "Đã trả kết quả" (NgayTra). -#}
{% macro index_returned_at(status_code, returned_at) -%}
    case when {{ status_code }} in (9, 10) then {{ returned_at }} end
{%- endmacro %}


{#- 2.1: else "Dừng" or "Từ chối": statuses 3, 7 and 8 are ends. -#}
{% macro index_stopped_at(status_code, completed_at, stopping_step_ended_at) -%}
    case when {{ status_code }} in (3, 7, 8) then coalesce({{ completed_at }}, {{ stopping_step_ended_at }}) end
{%- endmacro %}


{#- 2.1: one pending "Yêu cầu bổ sung" ends at that moment. [guess] The request is where the step that waits began. -#}
{% macro index_supplement_pending_since(status_code, waiting_step_began_at) -%}
    case when {{ status_code }} = 5 then {{ waiting_step_began_at }} end
{%- endmacro %}


{#- 2.1: more than one request for a supplement is late, whatever else. -#}
{% macro index_is_late_by_supplements(supplement_count) -%}
    {{ supplement_count }} > 1
{%- endmacro %}


{#- 2.1: time spent waiting for the supplement is subtracted. [guess] It is that of finished steps of status 5; a system that
    moves NgayHenTra instead keeps no such step, so that nothing is subtracted twice. -#}
{% macro index_without_waiting(ended_at, waited) -%}
    {{ ended_at }} - coalesce({{ waited }}, interval '0')
{%- endmacro %}


{#- 2.1: without NgayHenTra the legal maximum of the procedure is what is compared with. -#}
{% macro index_limit_or_legal_maximum(due_at, legal_maximum_at) -%}
    coalesce({{ due_at }}, {{ legal_maximum_at }})
{%- endmacro %}


{#- 2.1: on time when NgayKetThucXuLy ≤ NgayHenTra, by the moment. -#}
{% macro index_is_on_time(ended_at, limit_at) -%}
    {{ ended_at }} <= {{ limit_at }}
{%- endmacro %}


{#- 2.1: no end state: the last day of the period is compared, so one dossier may be on time in its month and late in its
    year. [guess] A period that still runs ends on the last day that data cover: the portal's own totals hold more on time
    than completed. -#}
{% macro index_is_on_time_without_end(limit_date, last_day_of_period, as_of_date) -%}
    least({{ last_day_of_period }}, {{ as_of_date }}) <= {{ limit_date }}
{%- endmacro %}


{#- 3.3: KenhThucHien 2 is online, 1 or null is in person, 3 is post. -#}
{% macro index_is_online(channel) -%}
    {{ is_online_channel('coalesce(' ~ channel ~ ', ' ~ var('channel_when_missing') ~ ')') }}
{%- endmacro %}


{#- 3.3 by the note: where a paper result is required, a result with its code and link, too (MaKetQua,
    DuongDanTepTinKetQua). The live system disagrees: 98.9 % of Phú Thọ's dossiers are online there (8/2026) while 19 % have
    no end (Q3/2026). -#}
{% macro index_has_result_where_required(result_is_required, has_result_code_and_link) -%}
    (not coalesce({{ result_is_required }}, false) or {{ has_result_code_and_link }})
{%- endmacro %}


{#- 3.3 by the note: multiplied by the ratio of 1.4. The live score is without it. -#}
{% macro index_times_synchronised(numerator, synchronised, received) -%}
    {{ numerator }} * {{ synchronised }} / nullif({{ received }}, 0)
{%- endmacro %}


{#- 3.5: a procedure has synchronised fees where a dossier has one that is not 0 (Gia). -#}
{% macro index_has_a_fee(charged_count) -%}
    {{ charged_count }} > 0
{%- endmacro %}


{#- 3.6: of a procedure with fees, by the catalogue or because one is written down. -#}
{% macro index_is_of_fee_procedure(procedure_has_fee, fee_count) -%}
    (coalesce({{ procedure_has_fee }}, false) or {{ fee_count }} > 0)
{%- endmacro %}


{#- 3.6: minus those whose every Gia is 0. -#}
{% macro index_owes_nothing(fee_count, charged_count) -%}
    ({{ fee_count }} > 0 and {{ charged_count }} = 0)
{%- endmacro %}


{#- 3.6: DuocThanhToanTrucTuyen 1 (national portal) or 2 (local gateway); 3, which one system writes, is neither. -#}
{% macro index_is_paid_online(online_payment_code) -%}
    {{ is_paid_online(online_payment_code) }}
{%- endmacro %}


{#- 3.3, 4.1: a procedure that gives results requires one; where the catalogue does not know it, a result written down
    says so. [guess] The catalogue does not tell paper from other results. -#}
{% macro index_requires_result(procedure_has_result, has_result_paper) -%}
    coalesce({{ procedure_has_result }}, nullif({{ has_result_paper }}, false))
{%- endmacro %}


{#- 4.1: the result has a file link. -#}
{% macro index_has_result_link(has_result_file) -%}
    {{ has_result_file }}
{%- endmacro %}


{#- 4.2: an attachment among the components and in the result. -#}
{% macro index_has_papers_and_result(has_component_file, has_result_file) -%}
    ({{ has_component_file }} and {{ has_result_file }})
{%- endmacro %}


{#- 4.3: a component is digitised (TaiLieuNop.DuocSoHoa). HoSoCoThanhPhanSoHoa, its equal for local dossiers, is not held. -#}
{% macro index_has_digitised_component(has_digitised_component) -%}
    {{ has_digitised_component }}
{%- endmacro %}


{#- 4.4: a component comes from the personal document store (TaiLieuNop.DuocLayTuKhoDMQG). -#}
{% macro index_has_component_from_store(has_component_from_store) -%}
    {{ has_component_from_store }}
{%- endmacro %}


{#- 4.5: an account confirmed by VNeID uses population data; so does a component from the store. MaCSDL is not held. -#}
{% macro index_has_vneid_account(is_vneid_account) -%}
    coalesce({{ is_vneid_account }}, false)
{%- endmacro %}


{#- Not a clause: whether there was an index on a day. -#}
{% macro is_judged_by_the_index(day) -%}
    {{ day }} >= '{{ var("service_index_first_day") }}'::date
{%- endmacro %}


{#- Not a clause: months whose dossiers are no longer those that were counted. -#}
{% macro delete_months_counted_otherwise() -%}
    {% if is_incremental() %}
        delete from {{ this }} as counted
        where
            not exists (
                select 1 from {{ ref('int_service_index__month') }} as month_now
                where
                    counted.counted_month = month_now.counted_month
                    and counted.month_checksum = month_now.month_checksum
            )
    {% endif %}
{%- endmacro %}


{#- Not a clause: the row of a dossier taken apart, one for each indicator: its code, whether it counts procedures, and
    what was decided. -#}
{% macro outcomes_of_the_index(judged) -%}
    values
    ('DOSSIER_SYNC', false, {{ judged }}.dossier_sync),
    ('PROGRESS_ON_TIME', false, {{ judged }}.progress_on_time),
    ('ONLINE_DOSSIER', false, {{ judged }}.online_dossier),
    ('ONLINE_DOSSIER_BY_NOTE', false, {{ judged }}.online_dossier_by_note),
    ('ONLINE_SERVICE_USED', true, {{ judged }}.online_service_used),
    ('PAYMENT_SERVICE_USED', true, {{ judged }}.payment_service_used),
    ('PAYMENT_DOSSIER', false, {{ judged }}.payment_dossier),
    ('ORIGINAL_RESULT_AVAILABLE', false, {{ judged }}.original_result_available),
    ('SO_HOA_GIAY_TO_GIAI_QUYET', false, {{ judged }}.papers_and_result_digitised),
    ('REUSED_DIGITIZED_DATA', false, {{ judged }}.reused_digitised_data),
    ('SYNCED_WITH_DVCQG_PERSONAL_STORAGE', false, {{ judged }}.synced_with_personal_storage),
    ('CITIZEN_DATA_CONNECTED_DOSSIER', false, {{ judged }}.citizen_data_connected)
{%- endmacro %}


{#- Not a clause: the calendar month, quarter and year of a month, with their last days. -#}
{% macro periods_of_month(month) -%}
    values
    ('month', to_char({{ month }}, 'YYYY-MM'), ({{ month }} + interval '1 month')::date - 1),
    (
        'quarter', to_char({{ month }}, 'YYYY-"Q"Q'),
        (date_trunc('quarter', {{ month }}) + interval '3 months')::date - 1
    ),
    ('year', to_char({{ month }}, 'YYYY'), (date_trunc('year', {{ month }}) + interval '1 year')::date - 1)
{%- endmacro %}


{#- Not a clause: the denominator of an indicator's totals. 1.4 divides by the greater of what was received and what the
    portal has. -#}
{% macro denominator_of_the_index(indicator_code, numerator, denominator) -%}
    case
        when {{ indicator_code }} = 'DOSSIER_SYNC' then greatest({{ numerator }}, {{ denominator }})
        else {{ denominator }}
    end
{%- endmacro %}

{#-
  Why the national portal's copy of a dossier is not ours: the class of a difference (docs/national.md), and for contents
  that differ the kind of the field.
-#}
{% macro cause_of_difference(difference_class, field_name) -%}
    case
        when {{ difference_class }} <> 'content_differs' then {{ difference_class }}
        when {{ field_name }} in ('MaTTHC', 'DonViXuLy') then 'code_differs'
        when {{ field_name }} = 'TrangThaiHoSo' then 'status_differs'
        when {{ field_name }} like 'Ngay%' then 'dates_differ'
        else 'content_differs'
    end
{%- endmacro %}


{#- The column of ours that a field of the portal stands in (COMPARED in national/reconcile.py). -#}
{% macro column_of_field(field_name) -%}
    case {{ field_name }}
        when 'KenhThucHien' then 'channel'
        when 'TrangThaiHoSo' then 'status_code'
        when 'MaTTHC' then 'procedure_code'
        when 'DonViXuLy' then 'responsible_agency_code'
        when 'NgayTiepNhan' then 'received_at'
        when 'NgayHenTra' then 'due_at'
        when 'NgayKetThucXuLy' then 'completed_at'
        when 'NgayTra' then 'returned_at'
        when 'DuocThanhToanTrucTuyen' then 'online_payment_code'
        when 'TaiKhoanDuocXacThucVoiVNeID' then 'is_vneid_account'
    end
{%- endmacro %}

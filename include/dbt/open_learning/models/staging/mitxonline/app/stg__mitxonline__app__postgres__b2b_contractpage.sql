select
  page_ptr_id as b2b_contract_id,
  organization_id,
  name as b2b_contract_name,
  integration_type as b2b_contract_integration_type,
  membership_type as b2b_contract_membership_type,
  contract_start as b2b_contract_start_date,
  contract_end as b2b_contract_end_date,
  active as b2b_contract_is_active,
  max_learners as b2b_contract_max_learners,
  enrollment_fixed_price as b2b_contract_fixed_price
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__b2b_contractpage') }}
